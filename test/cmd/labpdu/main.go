// Command labpdu holds the outlets of a power distribution unit for snmpd, which starts it by a pass_persist directive:
//
//	pass_persist .1.3.6.1.4.1.318.1.1.12.3 /path/labpdu -profile apc-rpdu -folder /tmp/pdu
package main

import (
	"flag"
	"fmt"
	"os"

	"quorate/test/snmppdu"
)

func main() {
	profile := flag.String("profile", "apc-rpdu", "whose table it serves")
	folder := flag.String("folder", "", "where its state is, and the settings that a test changes")
	flag.Parse()
	h, err := snmppdu.NewHandler(*profile, *folder)
	if err == nil {
		err = h.Serve(os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "labpdu:", err)
		os.Exit(1)
	}
}
