package quarantine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/store/bolt/internal/record"
)

// The buckets of the file.
var (
	bucketMeta    = []byte("m") // form
	bucketRings   = []byte("g") // tenant, endpoint, reason -> record.Ring
	bucketRefused = []byte("e") // number of an entry -> record
	bucketOrder   = []byte("o") // number of a ring, of an entry -> record.Repeats
	bucketBodies  = []byte("b") // number of a ring, SHA-256 of a body -> number of the entry
)

// keyForm of bucketMeta has the version of the file's form, 8 bytes.
var keyForm = []byte("form")

// form is the version of the file's form. A file of a later one is left alone.
const form = 1

// fillRefused packs the pages of the entries: their numbers only rise.
const fillRefused = 0.95

// maxRings bounds the rings. There is one for each endpoint and reason, which
// are the configuration's; they come and go with it.
const maxRings = 4096

// ringName is what a ring is for.
type ringName struct{ tenant, endpoint, reason string }

// key cannot be that of another name: no part holds a zero byte.
func (n ringName) key() []byte {
	return []byte(n.tenant + "\x00" + n.endpoint + "\x00" + n.reason)
}

// rings is a transaction in the file.
type rings struct {
	names   *bbolt.Bucket
	refused *bbolt.Bucket
	order   *bbolt.Bucket
	bodies  *bbolt.Bucket
}

// fillRings fills an empty file whose first entry gets the number
// behind last.
func fillRings(tx *bbolt.Tx, last uint64) error {
	var errs []error
	for _, name := range [][]byte{bucketMeta, bucketRings, bucketRefused, bucketOrder, bucketBodies} {
		_, err := tx.CreateBucket(name)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return errors.Join(tx.Bucket(bucketMeta).Put(keyForm, number(form)), tx.Bucket(bucketRefused).SetSequence(last))
}

// checkForm refuses a file of another version.
//
// Invariant 10: what a later version wrote is not damage.
func checkForm(tx *bbolt.Tx) error {
	switch got := tx.Bucket(bucketMeta).Get(keyForm); {
	case bytes.Equal(got, number(form)):
		return nil
	case bytes.Compare(got, number(form)) > 0:
		return errLaterForm
	}
	return fmt.Errorf("%w: it has no form", record.ErrDamaged)
}

func ringsOf(tx *bbolt.Tx) (*rings, error) {
	t := &rings{tx.Bucket(bucketRings), tx.Bucket(bucketRefused), tx.Bucket(bucketOrder), tx.Bucket(bucketBodies)}
	if tx.Bucket(bucketMeta) == nil || t.names == nil || t.refused == nil || t.order == nil || t.bodies == nil {
		return nil, fmt.Errorf("%w: a bucket is missing", record.ErrDamaged)
	}
	t.refused.FillPercent = fillRefused
	return t, nil
}

// each calls yield with every ring.
func (t *rings) each(yield func(*record.Ring) error) error {
	return t.names.ForEach(func(k, v []byte) error {
		g, err := record.ParseRing(v)
		if err != nil {
			return fmt.Errorf("ring %q: %w", k, err)
		}
		if !bytes.Equal(k, nameOf(g).key()) {
			return fmt.Errorf("ring %q: %w: it is that of another", k, record.ErrDamaged)
		}
		return yield(g)
	})
}

func nameOf(g *record.Ring) ringName { return ringName{g.Tenant, g.Endpoint, g.Reason} }

// entries returns how many entries there are. It reads the row of every ring.
func (t *rings) entries() (n int, err error) {
	err = t.each(func(g *record.Ring) error {
		n += g.Entries
		return nil
	})
	return n, err
}

// put takes an entry into its ring, which it makes if there is none: a body that
// the ring has is counted, another becomes the newest, and the ring's oldest are
// pushed out until it is within its bounds, or has nothing but the newest. It
// returns the rings that were dropped for a new one.
func (t *rings) put(e *refusal, maxEntries int, maxBytes int64, now time.Time) (dropped []ringName, err error) {
	g, err := t.ring(e.ring)
	if err == nil && g == nil {
		g, dropped, err = t.newRing(e.ring)
	}
	if err != nil {
		return nil, err
	}
	g.Used = now
	counted, err := t.count(g, e)
	if err == nil && !counted {
		err = t.insert(g, e)
	}
	for err == nil && g.Entries > 1 && (g.Entries > maxEntries || g.Bytes > maxBytes) {
		// Invariant 9: what a flood pushes out is its own.
		err = t.remove(g, t.oldest(g))
	}
	if err != nil {
		return nil, err
	}
	return dropped, t.names.Put(e.ring.key(), g.Encode())
}

// ring returns a ring, nil if there is none.
func (t *rings) ring(name ringName) (*record.Ring, error) {
	v := t.names.Get(name.key())
	if v == nil {
		return nil, nil
	}
	g, err := record.ParseRing(v)
	if err == nil && nameOf(g) != name {
		err = fmt.Errorf("%w: it is that of another", record.ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("ring %v: %w", name, err)
	}
	return g, nil
}

// newRing makes a ring, and room for it.
func (t *rings) newRing(name ringName) (*record.Ring, []ringName, error) {
	n := 0
	c := t.names.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	var dropped []ringName
	for ; n >= maxRings; n-- {
		gone, err := t.dropUnused()
		if err != nil {
			return nil, nil, err
		}
		dropped = append(dropped, gone)
	}
	n64, err := t.names.NextSequence()
	g := &record.Ring{Number: n64, Tenant: name.tenant, Endpoint: name.endpoint, Reason: name.reason}
	return g, dropped, err
}

// dropUnused drops the ring that got nothing for the longest time.
func (t *rings) dropUnused() (ringName, error) {
	var unused *record.Ring
	err := t.each(func(g *record.Ring) error {
		if unused == nil || g.Used.Before(unused.Used) {
			unused = g
		}
		return nil
	})
	if err != nil {
		return ringName{}, err
	}
	for id := t.oldest(unused); id != 0; id = t.oldest(unused) {
		if err := t.remove(unused, id); err != nil {
			return ringName{}, err
		}
	}
	return nameOf(unused), t.names.Delete(nameOf(unused).key())
}

// oldest returns the number of a ring's oldest entry, zero for none.
func (t *rings) oldest(g *record.Ring) uint64 {
	if ids := t.after(g, 0, 1); len(ids) > 0 {
		return ids[0]
	}
	return 0
}

// after returns the numbers of a ring's entries behind one, up to n, rising.
func (t *rings) after(g *record.Ring, after uint64, n int) (ids []uint64) {
	c := t.order.Cursor()
	for k, _ := c.Seek(orderKey(g, after+1)); k != nil && len(ids) < n; k, _ = c.Next() {
		if !bytes.HasPrefix(k, number(g.Number)) {
			break
		}
		ids = append(ids, binary.BigEndian.Uint64(k[8:]))
	}
	return ids
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func orderKey(g *record.Ring, id uint64) []byte {
	return append(number(g.Number), number(id)...)
}

func bodyKey(g *record.Ring, body [32]byte) []byte { return append(number(g.Number), body[:]...) }

// count counts an entry whose body the ring has. A row that is damaged is made
// anew, and counts from here on.
func (t *rings) count(g *record.Ring, e *refusal) (bool, error) {
	id := t.bodies.Get(bodyKey(g, e.body))
	if len(id) != len(number(0)) {
		return false, nil
	}
	key := orderKey(g, binary.BigEndian.Uint64(id))
	v := t.order.Get(key)
	if v == nil {
		return false, nil
	}
	p, err := record.ParseRepeats(v)
	if err != nil {
		p = record.Repeats{Body: e.body}
	}
	p.Count += e.count
	if e.last.After(p.Last) {
		p.Last = e.last
	}
	return true, t.order.Put(key, p.Encode())
}

func (t *rings) insert(g *record.Ring, e *refusal) error {
	id, err := t.refused.NextSequence()
	if err != nil {
		return err
	}
	coded, err := record.EncodeRefused(id, e.r)
	if err != nil {
		return err
	}
	g.Entries++
	g.Bytes += int64(len(coded))
	p := record.Repeats{Count: e.count, Last: e.last, Body: e.body}
	return errors.Join(
		t.refused.Put(number(id), coded),
		t.order.Put(orderKey(g, id), p.Encode()),
		t.bodies.Put(bodyKey(g, e.body), number(id)),
	)
}

// remove takes an entry out of its ring, damaged or not. The ring's row is the
// caller's to put.
func (t *rings) remove(g *record.Ring, id uint64) error {
	g.Entries--
	g.Bytes -= int64(len(t.refused.Get(number(id))))
	if p, err := record.ParseRepeats(t.order.Get(orderKey(g, id))); err == nil {
		if key := bodyKey(g, p.Body); bytes.Equal(t.bodies.Get(key), number(id)) {
			if err := t.bodies.Delete(key); err != nil {
				return err
			}
		}
	}
	return errors.Join(t.order.Delete(orderKey(g, id)), t.refused.Delete(number(id)))
}

// drop takes an entry out, and its ring with the last one.
func (t *rings) drop(id uint64) error {
	g, err := t.ringOf(id)
	if err != nil {
		return err
	}
	if err := t.remove(g, id); err != nil {
		return err
	}
	if g.Entries == 0 {
		return t.names.Delete(nameOf(g).key())
	}
	return t.names.Put(nameOf(g).key(), g.Encode())
}

// ringOf returns the ring that an entry is in, or ErrNotFound.
func (t *rings) ringOf(id uint64) (found *record.Ring, err error) {
	err = t.each(func(g *record.Ring) error {
		if t.order.Get(orderKey(g, id)) != nil {
			found = g
		}
		return nil
	})
	if err == nil && found == nil {
		err = host.ErrNotFound
	}
	return found, err
}

// read returns an entry of a ring. It shares no memory with the file.
func (t *rings) read(g *record.Ring, id uint64) (*host.Rejected, error) {
	rec, err := record.Decode(t.refused.Get(number(id)), id)
	if err != nil {
		return nil, err
	}
	p, err := record.ParseRepeats(t.order.Get(orderKey(g, id)))
	if err != nil {
		return nil, err
	}
	return &host.Rejected{
		ID: ID(id), Reason: g.Reason, Detail: rec.Detail, Tenant: rec.Tenant, Endpoint: rec.Endpoint,
		Provider: rec.Provider, Plugin: rec.Plugin, Evidence: rec.Evidence, Callback: rec.Callback,
		Count: p.Count, Last: p.Last,
	}, nil
}
