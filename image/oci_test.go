package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"
)

func sample() *OCI {
	return &OCI{
		Arch: "arm64", Name: "quorate:test", Created: time.Unix(1_700_000_000, 0),
		Files:      []File{{"/bin/witnessd", 0o755, []byte("binary")}, {"/etc/quorate/example.yaml", 0o644, []byte("node: w1\n")}},
		Entrypoint: []string{"/bin/witnessd"}, Ports: []string{"2379/tcp"}, Volumes: []string{"/var/lib/quorate"},
	}
}

func write(t *testing.T, o *OCI) []byte {
	t.Helper()
	var buf bytes.Buffer
	n, err := o.WriteTo(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if int(n) > buf.Len() || n == 0 {
		t.Fatalf("WriteTo says %d bytes, wrote %d", n, buf.Len())
	}
	return buf.Bytes()
}

func untar(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = raw
	}
}

// TestLayout follows the references from the index to the files, as a runtime
// does, and checks every digest on the way.
func TestLayout(t *testing.T) {
	tree := untar(t, bytes.NewReader(write(t, sample())))
	blob := func(d descriptor) []byte {
		raw, ok := tree["blobs/sha256/"+d.Digest[len("sha256:"):]]
		if !ok || digest(raw) != d.Digest || len(raw) != d.Size {
			t.Fatalf("blob %+v is missing or damaged", d)
		}
		return raw
	}
	parse := func(raw []byte, into any) {
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	var index struct{ Manifests []descriptor }
	parse(tree["index.json"], &index)
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	parse(blob(index.Manifests[0]), &manifest)
	var config struct {
		Architecture, OS string
		Rootfs           struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	parse(blob(manifest.Config), &config)
	zr, err := gzip.NewReader(bytes.NewReader(blob(manifest.Layers[0])))
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != "arm64" || config.OS != "linux" || config.Rootfs.DiffIDs[0] != digest(layer) {
		t.Errorf("config = %+v, layer is %s", config, digest(layer))
	}
	files := untar(t, bytes.NewReader(layer))
	if string(files["bin/witnessd"]) != "binary" {
		t.Errorf("files = %v", files)
	}
	for _, dir := range []string{"bin/", "etc/", "etc/quorate/", "var/lib/quorate/"} {
		if _, ok := files[dir]; !ok {
			t.Errorf("directory %s is missing", dir)
		}
	}
}

func TestReproducible(t *testing.T) {
	turned := sample()
	turned.Files[0], turned.Files[1] = turned.Files[1], turned.Files[0]
	if !bytes.Equal(write(t, sample()), write(t, turned)) {
		t.Error("the order of the files changes the image")
	}
}

func TestBadPaths(t *testing.T) {
	for _, p := range []string{"relative", "/a/../b", "/bin/witnessd"} {
		o := sample()
		o.Files = append(o.Files, File{Path: p})
		if _, err := o.WriteTo(io.Discard); err == nil {
			t.Errorf("path %q is taken", p)
		}
	}
}
