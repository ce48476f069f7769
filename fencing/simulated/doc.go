// Package simulated is a BMC that serves Redfish over HTTPS and really switches something: the embedder's hooks run when
// a ForceOff or an On takes effect. It has the faults that real BMCs have, settable while it runs.
//
// It is for the demo, the tests and the documentation, and is judged by foreign code: Debian's fence_redfish drives it in
// the integration test. It imports nothing of this module.
package simulated
