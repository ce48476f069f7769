// Package client is the client's side of the qnetd protocol: the handshake with
// TLS, and messages on a connection. What a client then does with a vote is not
// in here; test/qdevice and witness/qnetd/proxy have their own answers.
package client
