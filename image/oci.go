// Package image builds what a witness is shipped in. It imports nothing of the
// project: it packs the files that it is given, bit for bit the same each time.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"
	"time"
)

// File is one file of an image.
type File struct {
	Path string // absolute
	Mode int64  // permission bits
	Data []byte
}

// OCI describes an image from scratch: one layer, no shell, no package manager.
type OCI struct {
	Arch       string // Go's name: amd64, arm64, arm
	Variant    string // of arm: v7
	Name       string // of the reference, such as quorate:v0.1.0
	Created    time.Time
	Files      []File
	Entrypoint []string
	Cmd        []string
	Ports      []string // such as 2379/tcp
	Volumes    []string // absolute paths
}

// descriptor points at a blob, as in the OCI image specification 1.1.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// WriteTo writes the image as a tar file in the OCI image layout. The same
// input gives the same bytes.
func (o *OCI) WriteTo(w io.Writer) (int64, error) {
	layer, err := o.layer()
	if err != nil {
		return 0, err
	}
	packed, err := compress(layer)
	if err != nil {
		return 0, err
	}
	blobs := map[string][]byte{}
	add := func(mediaType string, data []byte) descriptor {
		sum := digest(data)
		blobs["blobs/sha256/"+strings.TrimPrefix(sum, "sha256:")] = data
		return descriptor{MediaType: mediaType, Digest: sum, Size: len(data)}
	}
	layerRef := add(typeLayer, packed)
	config, err := json.Marshal(o.config(digest(layer)))
	if err != nil {
		return 0, err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": add(typeConfig, config), "layers": []descriptor{layerRef},
	})
	if err != nil {
		return 0, err
	}
	ref := add(typeManifest, manifest)
	ref.Annotations = map[string]string{"org.opencontainers.image.ref.name": o.Name}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{ref}})
	if err != nil {
		return 0, err
	}
	blobs["index.json"] = index
	blobs["oci-layout"] = []byte(`{"imageLayoutVersion":"1.0.0"}`)
	return o.pack(w, blobs)
}

func (o *OCI) config(diffID string) map[string]any {
	set := func(names []string) map[string]struct{} {
		m := map[string]struct{}{}
		for _, n := range names {
			m[n] = struct{}{}
		}
		return m
	}
	cfg := map[string]any{
		"created": o.Created.UTC().Format(time.RFC3339), "architecture": o.Arch, "os": "linux",
		"config": map[string]any{"Entrypoint": o.Entrypoint, "Cmd": o.Cmd, "ExposedPorts": set(o.Ports), "Volumes": set(o.Volumes)},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{diffID}},
	}
	if o.Variant != "" {
		cfg["variant"] = o.Variant
	}
	return cfg
}

// layer is the root file system as an uncompressed tar.
func (o *OCI) layer() ([]byte, error) {
	files := append([]File(nil), o.Files...)
	sort.Slice(files, func(i, j int) bool { return files[i].Path < files[j].Path })
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	made := map[string]bool{"/": true}
	for i, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || i > 0 && files[i-1].Path == f.Path {
			return nil, fmt.Errorf("image: %q is not a clean absolute path, or there twice", f.Path)
		}
		if err := o.dirs(tw, path.Dir(f.Path), made); err != nil {
			return nil, err
		}
		if err := o.entry(tw, strings.TrimPrefix(f.Path, "/"), tar.TypeReg, f.Mode, f.Data); err != nil {
			return nil, err
		}
	}
	for _, v := range o.Volumes {
		if err := o.dirs(tw, v, made); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (o *OCI) dirs(tw *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := o.dirs(tw, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	return o.entry(tw, strings.TrimPrefix(dir, "/")+"/", tar.TypeDir, 0o755, nil)
}

func (o *OCI) entry(tw *tar.Writer, name string, kind byte, mode int64, data []byte) error {
	err := tw.WriteHeader(&tar.Header{Typeflag: kind, Name: name, Mode: mode, Size: int64(len(data)), ModTime: o.Created.UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	_, err = tw.Write(data)
	return err
}

func compress(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	zw, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := zw.Write(data); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// pack writes the blobs by name.
func (o *OCI) pack(w io.Writer, blobs map[string][]byte) (int64, error) {
	names := make([]string, 0, len(blobs))
	for name := range blobs {
		names = append(names, name)
	}
	sort.Strings(names)
	count := &counter{w: w}
	tw := tar.NewWriter(count)
	for _, name := range names {
		if err := o.entry(tw, name, tar.TypeReg, 0o644, blobs[name]); err != nil {
			return count.n, err
		}
	}
	return count.n, tw.Close()
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
