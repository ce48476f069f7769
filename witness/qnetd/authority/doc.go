// Package authority makes the certificates of a quorum device: the authority
// that the cluster nodes trust, the certificate of the witnesses, and one for
// each cluster, whose common name is the name of the cluster.
//
// An authority is a directory. It is needed to issue certificates and for
// nothing else: the witnesses get its certificate and never its key, so that a
// witness that falls into the wrong hands cannot make up clusters.
package authority
