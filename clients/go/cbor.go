package denclave

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// CBOR: what attestation documents and sealed requests need of RFC 8949.

func cborHead(kind byte, value uint64) []byte {
	kind <<= 5
	switch {
	case value < 24:
		return []byte{kind | byte(value)}
	case value < 1<<8:
		return []byte{kind | 24, byte(value)}
	case value < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{kind | 25}, uint16(value))
	case value < 1<<32:
		return binary.BigEndian.AppendUint32([]byte{kind | 26}, uint32(value))
	default:
		return binary.BigEndian.AppendUint64([]byte{kind | 27}, value)
	}
}

// cborPair is a key and its value; a slice of them is a map in their order.
type cborPair struct {
	key   string
	value any
}

// cborEncode writes definite lengths and shortest heads: nil, int64, bytes, strings, arrays ([]any) and maps ([]cborPair).
func cborEncode(value any) []byte {
	switch value := value.(type) {
	case nil:
		return []byte{0xf6}
	case int:
		return cborEncode(int64(value))
	case int64:
		if value < 0 {
			return cborHead(1, uint64(-1-value))
		}
		return cborHead(0, uint64(value))
	case []byte:
		return append(cborHead(2, uint64(len(value))), value...)
	case string:
		return append(cborHead(3, uint64(len(value))), value...)
	case []any:
		out := cborHead(4, uint64(len(value)))
		for _, item := range value {
			out = append(out, cborEncode(item)...)
		}
		return out
	case []cborPair:
		out := cborHead(5, uint64(len(value)))
		for _, pair := range value {
			out = append(append(out, cborEncode(pair.key)...), cborEncode(pair.value)...)
		}
		return out
	default:
		panic(fmt.Sprintf("no CBOR for %T", value))
	}
}

var errCut = errors.New("cut off")

type cborReader struct{ rest []byte }

func (r *cborReader) take(length uint64) ([]byte, error) {
	if length > uint64(len(r.rest)) {
		return nil, errCut
	}
	taken := r.rest[:length]
	r.rest = r.rest[length:]
	return taken, nil
}

func (r *cborReader) argument(low byte) (uint64, error) {
	if low < 24 {
		return uint64(low), nil
	}
	if low > 27 {
		return 0, errors.New("no definite length")
	}
	raw, err := r.take(1 << (low - 24))
	if err != nil {
		return 0, err
	}
	var value uint64
	for _, each := range raw {
		value = value<<8 | uint64(each)
	}
	return value, nil
}

// each reads items, or pairs, up to their number or the break of an indefinite length.
func (r *cborReader) each(low byte, read func() error) error {
	isIndefinite := low == 31
	var count uint64
	if !isIndefinite {
		var err error
		if count, err = r.argument(low); err != nil {
			return err
		}
	}
	for index := uint64(0); isIndefinite || index < count; index++ {
		if isIndefinite && len(r.rest) > 0 && r.rest[0] == 0xff {
			r.rest = r.rest[1:]
			return nil
		}
		if err := read(); err != nil {
			return err
		}
	}
	return nil
}

func (r *cborReader) item(depth int) (any, error) {
	head, err := r.take(1)
	if err != nil {
		return nil, err
	}
	kind, low := head[0]>>5, head[0]&31
	if depth == 0 && (kind == 4 || kind == 5) {
		return nil, errors.New("nested too deep")
	}
	switch kind {
	case 0, 1:
		value, err := r.argument(low)
		if err != nil || value > 1<<62 {
			return nil, errors.Join(err, errors.New("a number is too large"))
		}
		if kind == 1 {
			return -1 - int64(value), nil
		}
		return int64(value), nil
	case 2, 3:
		length, err := r.argument(low)
		if err != nil {
			return nil, err
		}
		raw, err := r.take(length)
		if err != nil || kind == 2 {
			return raw, err
		}
		if !utf8.Valid(raw) {
			return nil, errors.New("a text is not UTF-8")
		}
		return string(raw), nil
	case 4:
		items := []any{}
		err := r.each(low, func() error {
			item, err := r.item(depth - 1)
			items = append(items, item)
			return err
		})
		return items, err
	case 5:
		pairs := map[any]any{}
		err := r.each(low, func() error {
			key, err := r.item(depth - 1)
			if err != nil {
				return err
			}
			switch key.(type) {
			case int64, string:
			default:
				return errors.New("a key is neither a text nor an integer")
			}
			if _, isThere := pairs[key]; isThere {
				return errors.New("a key is there twice")
			}
			pairs[key], err = r.item(depth - 1)
			return err
		})
		return pairs, err
	case 7:
		switch low {
		case 20, 21:
			return low == 21, nil
		case 22:
			return nil, nil
		}
	}
	return nil, errors.New("not allowed here")
}

// cborDecode reads one item and nothing after it: int64, []byte, string, []any, map[any]any, bool, nil. Arrays and maps may be of indefinite length: AWS's
// maps are.
func cborDecode(data []byte) (any, error) {
	reader := cborReader{data}
	item, err := reader.item(4)
	if err == nil && len(reader.rest) > 0 {
		err = errors.New("something follows the end")
	}
	return item, err
}
