// Package manifest reads what operators write: it turns a YAML or JSON file
// into a [witness.Config] and reports everything that is wrong with it at
// once, each fault with its file and line. It also renders a configuration in
// its canonical form and says in words how two configurations differ.
//
// The package does no I/O: callers hand it the bytes and a name to show.
package manifest
