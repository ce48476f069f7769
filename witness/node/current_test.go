package node

import (
	"testing"
	"testing/synctest"
	"time"
)

// Whoever says that it is in touch with a quorum shows nothing older than what was
// confirmed before: clients read its state without asking anybody else. Patroni
// demotes a healthy primary when a witness that has just started shows no keys.
func TestContactMeansCurrent(t *testing.T) {
	for name, fault := range map[string]func(l *lab){
		"all witnesses restarted": func(l *lab) {
			for _, name := range []string{"a", "b", "c"} {
				l.crash(name)
			}
			time.Sleep(5 * time.Second)
			for _, name := range []string{"a", "b", "c"} {
				l.start(name)
			}
		},
		"a new leader isolated before it took office": func(l *lab) {
			for _, name := range []string{"a", "b", "c"} {
				l.crash(name)
			}
			for _, name := range []string{"a", "b", "c"} {
				l.start(name)
			}
			var elected *running
			for start := time.Now(); elected == nil && time.Since(start) < time.Minute; time.Sleep(time.Millisecond) {
				for _, r := range l.live {
					if lead := r.lead.Load(); lead != nil && !lead.isReady() {
						elected = r
					}
				}
			}
			if elected == nil {
				l.t.Fatal("nobody was elected")
			}
			l.net.Isolate(elected.opts.Name)
			until(l.t, "it steps down", func() bool { return elected.lead.Load() == nil })
			l.net.Heal()
		},
		"a follower restarted": func(l *lab) {
			name := l.followers()[0].opts.Name
			l.crash(name)
			put(l.t, l.leader().Node, "/k", "newer")
			time.Sleep(time.Second) // the others have it, too
			l.start(name)
		},
		"a follower isolated": func(l *lab) {
			f := l.followers()[0]
			l.net.Isolate(f.opts.Name)
			time.Sleep(5 * time.Second)
			for range 50 {
				put(l.t, l.leader().Node, "/k", "newer")
			}
			time.Sleep(time.Second)
			l.net.Heal()
		},
		"the leader isolated": func(l *lab) {
			old := l.leader()
			l.net.Isolate(old.opts.Name)
			time.Sleep(5 * time.Second)
			for range 50 {
				put(l.t, l.leader(old.opts.Name).Node, "/k", "newer")
			}
			time.Sleep(time.Second)
			l.net.Heal()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab(t, nil, "a", "b", "c")
				l.net.Delay(jitter(7, 10*time.Millisecond, 20*time.Millisecond, 0, 1))
				l.settle()
				for range 100 {
					put(t, l.leader().Node, "/k", "v")
				}
				l.settle()
				fault(l)
				var confirmed uint64
				for _, r := range l.live {
					confirmed = max(confirmed, r.State().Index)
				}
				if confirmed < 100 {
					confirmed = 100 // everybody has started anew: what was confirmed before
				}
				seen := map[string]bool{}
				for range 20_000 {
					for name, r := range l.live {
						if r.Contact() > r.opts.ElectionTimeout {
							continue
						}
						seen[name] = true
						if at := r.State().Index; at < confirmed {
							t.Fatalf("%s is in touch and shows index %d; %d was confirmed before", name, at, confirmed)
						}
					}
					time.Sleep(time.Millisecond)
				}
				if len(seen) != len(l.live) {
					t.Errorf("only %v came in touch again", seen)
				}
			})
		})
	}
}
