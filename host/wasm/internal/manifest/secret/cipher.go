package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"

	"github.com/postern/postern/host"
)

// BlockSize is the length of an AES block, and of every key and IV here.
const BlockSize = aes.BlockSize

// padding is how a cipher's text is filled up to whole blocks.
type padding struct {
	// fill is the byte that n places are filled with, whole says whether a text
	// of whole blocks gets a block more.
	fill  func(n int) byte
	whole bool
	// strip returns how many bytes of the last block are padding, and 1 if they
	// are what they must be, else 0. Its time does not depend on the bytes.
	strip func(last []byte) (n, right int)
}

var paddings = map[Use]*padding{
	Use(host.AES128CBC): {
		fill: func(n int) byte { return byte(n & 0xff) }, whole: true, strip: stripPKCS7,
	},
	Use(host.AES128CBCZero): {
		fill: func(int) byte { return 0 }, strip: stripZero,
	},
}

// stripPKCS7 gives wrong padding some length too, of 1 to 16 as the last byte
// says: what is made of the text costs the same as if the padding were right.
func stripPKCS7(last []byte) (n, right int) {
	end := int(last[BlockSize-1])
	right = subtle.ConstantTimeLessOrEq(1, end) & subtle.ConstantTimeLessOrEq(end, BlockSize)
	n = (end-1)&(BlockSize-1) + 1
	for i := range BlockSize {
		inside := subtle.ConstantTimeLessOrEq(BlockSize-n, i)
		same := subtle.ConstantTimeByteEq(last[i], last[BlockSize-1])
		right &= subtle.ConstantTimeSelect(inside, same, 1)
	}
	return n, right
}

// stripZero takes off up to 15 zero bytes. No text has wrong padding.
func stripZero(last []byte) (n, right int) {
	run := 1
	for i := BlockSize - 1; i > 0; i-- {
		run &= subtle.ConstantTimeByteEq(last[i], 0)
		n += run
	}
	return n, 1
}

// Cipher is one value of a cipher's key. It is safe for concurrent use.
type Cipher struct {
	block cipher.Block
	pad   *padding
}

// NewCipher makes the cipher of a use that [Use.IsCipher]. The error is for a
// key that is not of its length.
func NewCipher(use Use, key []byte) (Cipher, error) {
	block, err := aes.NewCipher(key)
	if err != nil || len(key) != BlockSize {
		return Cipher{}, fmt.Errorf("a key of %d bytes, %s takes %d", len(key), use, BlockSize)
	}
	return Cipher{block, paddings[use]}, nil
}

// Open decrypts one or more whole blocks. It returns a text whatever the key
// and the padding are; right is 1 if the padding is what it must be, else 0.
// Who calls it does the same work for both and looks at right last: the time
// must not tell which it was.
func (c Cipher) Open(iv, ciphertext []byte) (text []byte, right int) {
	text = make([]byte, len(ciphertext))
	cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(text, ciphertext)
	n, right := c.pad.strip(text[len(text)-BlockSize:])
	return text[:len(text)-n], right
}

// Seal encrypts a text, padded: the inverse of Open.
func (c Cipher) Seal(iv, text []byte) []byte {
	n := BlockSize - len(text)%BlockSize
	if n == BlockSize && !c.pad.whole {
		n = 0
	}
	out := append(bytes.Clone(text), bytes.Repeat([]byte{c.pad.fill(n)}, n)...)
	cipher.NewCBCEncrypter(c.block, iv).CryptBlocks(out, out)
	return out
}
