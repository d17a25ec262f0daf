package meter

import "fmt"

// reader walks through bytes that nobody has checked. After its first error it
// stands at the end and gives zeros, so that a caller may look at err once for
// several reads, and every loop over what it gives ends.
type reader struct {
	b   []byte
	at  int
	err error
}

// fail keeps the first error.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: at byte %d: %s", ErrMalformed, r.at, fmt.Sprintf(format, args...))
	}
	r.at = len(r.b)
}

func (r *reader) refuse(c Class, format string, args ...any) {
	if r.err == nil {
		r.err = &Refused{c, fmt.Sprintf(format, args...)}
	}
	r.at = len(r.b)
}

func (r *reader) more() bool { return r.at < len(r.b) }

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.fail("unexpected end")
		return 0
	}
	c := r.b[r.at]
	r.at++
	return c
}

func (r *reader) bytes(n uint32) []byte {
	if int64(n) > int64(len(r.b)-r.at) {
		r.fail("unexpected end")
		return nil
	}
	b := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) u32() uint32 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 {
		r.at++
		return uint32(r.b[r.at-1])
	}
	var x uint32
	for i := range 5 {
		c := r.byte()
		if i == 4 && c > 0x0f {
			break
		}
		x |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return x
		}
	}
	r.fail("a number of more than 32 bits")
	return 0
}

// signed skips a signed number of so many bits, padded with its sign.
func (r *reader) signed(bits int) {
	most := (bits + 6) / 7
	for i := range most {
		c := r.byte()
		if i == most-1 {
			used := bits - 7*i
			sign := c & 0x7f >> (used - 1)
			if c < 0x80 && (sign == 0 || sign == 0x7f>>(used-1)) {
				return
			}
			break
		}
		if c < 0x80 {
			return
		}
	}
	r.fail("a number of more than %d bits", bits)
}

// count reads the length of a vector whose elements take a byte or more each.
func (r *reader) count() int {
	n := r.u32()
	if int64(n) > int64(len(r.b)-r.at) {
		r.fail("%d elements in %d bytes", n, len(r.b)-r.at)
		return 0
	}
	return int(n)
}

// below reads an index into something that has n elements.
func (r *reader) below(n int, of string) uint32 {
	i := r.u32()
	if r.err == nil && int64(i) >= int64(n) {
		r.fail("%s %d of %d", of, i, n)
		return 0
	}
	return i
}

// word is a number of things in a module, of which none has 2^32.
func word(n int) uint32 {
	return uint32(n) //nolint:gosec // see above
}

func uleb(b []byte, n uint32) []byte {
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func sleb(b []byte, n int64) []byte {
	for {
		c := byte(n & 0x7f)
		n >>= 7
		if n == 0 && c&0x40 == 0 || n == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
