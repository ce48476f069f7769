// Command mkimage packs the static binaries into an OCI image from scratch.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"quorate/image"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run() error {
	arch := flag.String("arch", "amd64", "architecture: amd64, arm64 or arm")
	bin := flag.String("bin", "bin", "folder with the static binaries of that architecture")
	out := flag.String("out", "", "file to write; default out/quorate-ARCH.oci.tar")
	version := flag.String("version", "dev", "tag of the image")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), "mkimage packs static binaries into an OCI image from scratch: no shell, no package manager.\n\nExample:\n  mkimage -arch arm64 -bin out/bin-arm64 -version v0.1.0\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if *out == "" {
		*out = filepath.Join("out", "quorate-"+*arch+".oci.tar")
	}
	o := &image.OCI{
		Arch: *arch, Name: "quorate:" + *version, Created: created(),
		Entrypoint: []string{"/bin/witnessd"}, Cmd: []string{"--config", "/etc/quorate/witnessd.yaml"},
		Ports:   []string{"53/tcp", "53/udp", "2379/tcp", "7400/tcp", "8080/tcp"},
		Volumes: []string{"/var/lib/quorate"},
	}
	if *arch == "arm" {
		o.Variant = "v7"
	}
	for _, name := range []string{"witnessd", "witnessctl"} {
		data, err := os.ReadFile(filepath.Join(*bin, name))
		if err != nil {
			return fmt.Errorf("%w: build the binaries first, `make image` does both", err)
		}
		o.Files = append(o.Files, image.File{Path: "/bin/" + name, Mode: 0o755, Data: data})
	}
	f, err := os.Create(*out)
	if err != nil {
		return err
	}
	n, err := o.WriteTo(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Printf("%s: %.1f MB\n", *out, float64(n)/1e6)
	return nil
}

// created is the build time that reproducible builds agree on.
func created() time.Time {
	if s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(s, 0)
	}
	return time.Unix(0, 0)
}
