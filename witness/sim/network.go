package sim

import "time"

// maxPlaces bounds witnesses and hosts together.
const maxPlaces = 16

// network connects places: the witnesses first, then the hosts. Cuts have a
// direction.
type network struct {
	cut    [maxPlaces][maxPlaces]bool
	cutBMC [maxPlaces][maxPlaces]bool // witness, host
	cutPDU [maxPlaces][maxPlaces]bool // witness, host
	loss   int                        // one message in loss is lost; 0 = none
	slow   int                        // one message in slow is late by seconds; 0 = none
}

// both says whether two places reach each other in both directions.
func (n *network) both(a, b int) bool { return !n.cut[a][b] && !n.cut[b][a] }

// lost decides the fate of one message.
func (w *world) lost(from, to int) bool {
	return w.net.cut[from][to] || w.net.loss > 0 && w.chance(w.net.loss)
}

func (w *world) delay() time.Duration {
	if w.net.slow > 0 && w.chance(w.net.slow) {
		return w.between(200*time.Millisecond, 4*time.Second)
	}
	return w.between(time.Millisecond, 30*time.Millisecond)
}

// send carries a message to an actor, or loses it.
func (w *world) send(from, to int, who *actor, fn func()) {
	if !w.lost(from, to) {
		w.after(w.delay(), who, fn)
	}
}
