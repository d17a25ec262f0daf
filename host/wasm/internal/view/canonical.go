package view

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
)

// Digest is the SHA-256 of what a JSON object says, however it is written: two
// objects have the same digest if they have the same members with the same
// values. The order of members is free at every depth, that of elements is
// not; strings are taken unescaped, numbers as their text. The member of the
// whole object called except is left out; empty leaves none out. With it comes
// how many members of the whole object it speaks for: 0, too, for a view of
// anything but a JSON object.
//
// Its time depends on the document alone, not on what it is compared with.
func (v *View) Digest(except string) (sum [sha256.Size]byte, members int) {
	if v.fields != nil || v.nodes[0].kind != Object {
		return sum, 0
	}
	d := digester{View: v, hash: sha256.New()}
	members = d.object(0, except)
	d.hash.Sum(sum[:0])
	return sum, members
}

type digester struct {
	*View
	hash hash.Hash
	head [9]byte
}

// begin writes the kind of a value and its length or count: nothing that
// follows can be taken for something else.
func (d *digester) begin(k Kind, n int) {
	d.head[0] = byte(k)
	binary.BigEndian.PutUint64(d.head[1:], uint64(n)) //nolint:gosec // a length
	d.hash.Write(d.head[:])
}

func (d *digester) text(k Kind, b []byte) {
	d.begin(k, len(b))
	d.hash.Write(b)
}

func (d *digester) value(at int32) {
	n := &d.nodes[at]
	switch n.kind {
	case Object:
		d.object(at, "")
	case Array:
		d.begin(Array, int(n.size))
		for child := at + 1; child < n.next; child = d.nodes[child].next {
			d.value(child)
		}
	case String:
		d.text(String, d.plain(n))
	default:
		d.text(n.kind, d.raw(n))
	}
}

// object returns how many members it wrote.
func (d *digester) object(at int32, except string) int {
	n := &d.nodes[at]
	members := make([]int32, 0, n.size)
	for child := at + 1; child < n.next; child = d.nodes[child].next {
		if except == "" || string(d.name(&d.nodes[child])) != except {
			members = append(members, child)
		}
	}
	slices.SortFunc(members, func(a, b int32) int { return bytes.Compare(d.name(&d.nodes[a]), d.name(&d.nodes[b])) })
	d.begin(Object, len(members))
	for _, child := range members {
		d.text(String, d.name(&d.nodes[child]))
		d.value(child)
	}
	return len(members)
}
