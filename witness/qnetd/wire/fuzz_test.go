package wire

import (
	"bytes"
	"reflect"
	"testing"
)

// FuzzDecode: no input panics, and what decodes encodes to something that
// decodes to the same, in no more memory than a small multiple of the input.
func FuzzDecode(f *testing.F) {
	for _, raw := range golden(f) {
		f.Add(raw)
		f.Add(raw[:len(raw)-1])
		f.Add(append(raw[:len(raw):len(raw)], 0))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := NewReader(bytes.NewReader(raw), MaxMessage)
		for {
			fr, err := r.Next()
			if _, answer := CodeOf(err); answer {
				continue
			}
			if err != nil {
				return
			}
			m, err := Decode(fr)
			if err != nil {
				if _, answer := CodeOf(err); !answer {
					t.Fatalf("no code for %v", err)
				}
				continue
			}
			again, err := Append(nil, m)
			if err != nil {
				t.Fatalf("%+v does not encode: %v", m, err)
			}
			back, err := NewReader(bytes.NewReader(again), MaxClientMessage).Next()
			if err != nil {
				t.Fatal(err)
			}
			if same, err := Decode(back); err != nil || !reflect.DeepEqual(same, m) {
				t.Fatalf("%+v comes back as %+v, %v", m, same, err)
			}
			if nodes, is := m.(NodeList); is && len(nodes.Nodes) > len(fr.Body)/12 {
				t.Fatalf("%d nodes out of %d bytes", len(nodes.Nodes), len(fr.Body))
			}
		}
	})
}
