package node

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The first byte of a connection to the peer port says what it is for.
const (
	kindRaft = 'R'
	kindRPC  = 'Q'
)

// maxGreeting bounds what a stranger can make us read.
const maxGreeting = 4 << 10

// greeting opens every connection, in both directions. It keeps apart what
// hashicorp/raft would mix: other clusters, wrong addresses, and a witness that
// lost its disk and still uses its old name.
type greeting struct {
	Version   int    `json:"v"`
	Cluster   string `json:"cluster"`
	ClusterID uint64 `json:"cluster_id,omitempty"` // 0 = not known yet
	From      string `json:"from"`
	To        string `json:"to,omitempty"` // empty = whoever listens there
	Disk      string `json:"disk"`
	Refuse    string `json:"refuse,omitempty"` // in an answer: why the connection ends here
}

const greetingVersion = 1

func writeGreeting(w io.Writer, kind byte, g greeting) error {
	raw, err := json.Marshal(g)
	if err != nil {
		return err
	}
	if len(raw) > maxGreeting {
		return fmt.Errorf("greeting of %d bytes is longer than %d", len(raw), maxGreeting)
	}
	buf := []byte{kind}
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(raw)))
	_, err = w.Write(append(buf, raw...))
	return err
}

func readGreeting(r io.Reader) (kind byte, g greeting, err error) {
	var head [3]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, g, err
	}
	if head[0] != kindRaft && head[0] != kindRPC {
		return 0, g, fmt.Errorf("first byte 0x%02x is not from a witness", head[0])
	}
	size := binary.BigEndian.Uint16(head[1:])
	if size > maxGreeting {
		return 0, g, fmt.Errorf("greeting of %d bytes is longer than %d", size, maxGreeting)
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return 0, g, err
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		return 0, g, fmt.Errorf("greeting: %w", err)
	}
	if g.From == "" || g.Disk == "" {
		return 0, g, errors.New("greeting names no witness")
	}
	return head[0], g, nil
}

// accepts says why the node described by own must not talk to the one that
// sent g, or returns nil.
func (own greeting) accepts(g greeting) error {
	switch {
	case g.Version != greetingVersion:
		return fmt.Errorf("%q speaks version %d of the peer protocol, %q speaks %d: run the same version on both", g.From, g.Version, own.From, greetingVersion)
	case g.Cluster != own.Cluster:
		return fmt.Errorf("%q belongs to the witness cluster %q, %q to %q: correct the peer addresses", g.From, g.Cluster, own.From, own.Cluster)
	case g.ClusterID != 0 && own.ClusterID != 0 && g.ClusterID != own.ClusterID:
		return fmt.Errorf("%q and %q belong to different witness clusters (%x and %x) of the same name: wipe the one that was set up by mistake and let it join", g.From, own.From, g.ClusterID, own.ClusterID)
	case g.To != "" && g.To != own.From:
		return fmt.Errorf("%q looked for %q and reached %q: correct the peer addresses", g.From, g.To, own.From)
	case g.From == own.From:
		return fmt.Errorf("two witnesses are called %q: rename one", own.From)
	}
	return nil
}
