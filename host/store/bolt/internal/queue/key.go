package queue

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/postern/postern/host/store/bolt/internal/record"
)

// Key orders rows by time. What is of a replay has its number at the end, so that
// several deliveries of one event can fall due at once.
func Key(t time.Time, at Pos, number uint32) []byte {
	b := binary.BigEndian.AppendUint64(nil, record.Stamp(t))
	b = binary.BigEndian.AppendUint64(b, at.Seq)
	b = binary.BigEndian.AppendUint16(b, uint16(at.Index)) //nolint:gosec // an event's index
	if number != 0 {
		b = binary.BigEndian.AppendUint32(b, number)
	}
	return b
}

// ParseKey is the inverse of [Key].
func ParseKey(b []byte) (t time.Time, at Pos, number uint32, err error) {
	const short, long = 18, 22
	switch len(b) {
	case long:
		number = binary.BigEndian.Uint32(b[short:])
	case short:
	default:
		return t, at, 0, errors.New("damaged key of a row")
	}
	at = Pos{Seq: binary.BigEndian.Uint64(b[8:]), Index: int(binary.BigEndian.Uint16(b[16:]))}
	return record.Unstamp(binary.BigEndian.Uint64(b)), at, number, nil
}

// kept is a time as a key holds it.
func kept(t time.Time) time.Time { return record.Unstamp(record.Stamp(t)) }
