// Package seal keeps the secrets of fence devices sealed in the replicated
// configuration, and opens them for the witness that is about to use one.
//
// Each witness has a key pair of its own (Curve25519); the private half is a
// file in its data directory and never leaves it. The data key (XSalsa20 and
// Poly1305, 32 bytes) stands in the state sealed to each public key, so that a
// witness that joins needs nothing but to be one: another one seals the data
// key to it. Both primitives are those of NaCl, from golang.org/x/crypto.
package seal
