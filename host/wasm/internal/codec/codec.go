// Package codec has the encodings and hashes that the ABI names.
package codec

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"

	"github.com/postern/postern/host/wasm/internal/manifest/secret"
)

// The encodings of the ABI.
const (
	raw       = 0
	hexText   = 1
	base64Std = 2
	base64URL = 3
)

// ErrUnknown is the error for an encoding that the ABI does not have.
var ErrUnknown = errors.New("no encoding of the ABI")

// Append decodes b behind dst.
func Append(dst []byte, encoding uint32, b []byte) ([]byte, error) {
	switch encoding {
	case raw:
		return append(dst, b...), nil
	case hexText:
		return hex.AppendDecode(dst, b)
	case base64Std:
		out, err := secret.StrictBase64(base64.StdEncoding, string(b))
		return append(dst, out...), err
	case base64URL:
		out, err := secret.StrictBase64(base64.RawURLEncoding, string(b))
		return append(dst, out...), err
	}
	return nil, ErrUnknown
}

// Encode is the inverse of [Append], hex in lower case. It may return b itself.
func Encode(encoding uint32, b []byte) ([]byte, error) {
	switch encoding {
	case raw:
		return b, nil
	case hexText:
		return hex.AppendEncode(nil, b), nil
	case base64Std:
		return base64.StdEncoding.AppendEncode(nil, b), nil
	case base64URL:
		return base64.RawURLEncoding.AppendEncode(nil, b), nil
	}
	return nil, ErrUnknown
}

// The hashes of the ABI. Another body with the same CRC32 is easily made: it proves
// nothing.
const (
	SHA256 = 1
	SHA512 = 2
	CRC32  = 3
)

// Digest hashes b; it reports whether the ABI has the algorithm.
func Digest(algorithm uint32, b []byte) ([]byte, bool) {
	switch algorithm {
	case SHA256:
		sum := sha256.Sum256(b)
		return sum[:], true
	case SHA512:
		sum := sha512.Sum512(b)
		return sum[:], true
	case CRC32:
		return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)), true
	}
	return nil, false
}
