package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const burstMax = 32 // datagrams in one system call

// Burst is one client with one socket that keeps a number of queries outstanding
// and sends them in bursts, so that the server is measured and not the client.
type Burst struct {
	Addr        netip.AddrPort
	Packets     [][]byte
	Outstanding int
	CPU         int // that the client runs on; -1 for any
	// Check looks at each reply, if set.
	Check func(query int, reply []byte) error
}

// Result of a run.
type Result struct {
	Sent, Answered int
	Took           time.Duration
	P50, P99       time.Duration
}

type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   [4]byte
}

// Run sends for the given time. A query without an answer is given up after 200 ms
// in which nothing came.
func (b *Burst) Run(length time.Duration) (Result, error) {
	runtime.LockOSThread() // the thread is thrown away, with its affinity
	if b.CPU >= 0 {
		var set unix.CPUSet
		set.Set(b.CPU)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return Result{}, err
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Result{}, err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<21); err != nil {
		return Result{}, err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}); err != nil {
		return Result{}, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(b.Addr.Port()), Addr: b.Addr.Addr().As4()}); err != nil {
		return Result{}, err
	}
	return b.loop(fd, length)
}

func (b *Burst) loop(fd int, length time.Duration) (Result, error) {
	var (
		in, out       [burstMax]mmsghdr
		inVec, outVec [burstMax]unix.Iovec
		replies       [burstMax][1500]byte
		queries       [burstMax][512]byte
		sentAt        [1 << 16]time.Duration
		which         [1 << 16]uint8
		latencies     []time.Duration
		res           Result
		id            uint16
		open          int
	)
	for i := range burstMax {
		inVec[i] = unix.Iovec{Base: &replies[i][0], Len: uint64(len(replies[i]))}
		in[i].hdr = unix.Msghdr{Iov: &inVec[i], Iovlen: 1}
		outVec[i] = unix.Iovec{Base: &queries[i][0]}
		out[i].hdr = unix.Msghdr{Iov: &outVec[i], Iovlen: 1}
	}
	began := time.Now()
	for {
		now := time.Since(began)
		if now >= length && open == 0 {
			break
		}
		// A burst goes out when there is room for a whole one, so that servers that take
		// many datagrams at a time can do so.
		if room := min(b.Outstanding-open, burstMax); room >= min(b.Outstanding, burstMax) && now < length {
			for i := range room {
				id++
				q := int(id) % len(b.Packets)
				n := copy(queries[i][:], b.Packets[q])
				binary.BigEndian.PutUint16(queries[i][:], id)
				outVec[i].Len = uint64(n)
				sentAt[id], which[id] = now, uint8(q)
			}
			n, _, errno := syscall.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&out[0])), uintptr(room), 0, 0, 0)
			if errno != 0 && !errors.Is(errno, unix.ECONNREFUSED) {
				return res, fmt.Errorf("sendmmsg: %w", errno)
			}
			if errno == 0 {
				res.Sent += int(n)
				open += int(n)
			}
		}
		n, _, errno := syscall.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&in[0])), burstMax, unix.MSG_WAITFORONE, 0, 0)
		switch errno {
		case 0:
		case unix.EAGAIN:
			open = 0 // what is still outstanding is lost
			continue
		case unix.EINTR, unix.ECONNREFUSED:
			continue
		default:
			return res, fmt.Errorf("recvmmsg: %w", errno)
		}
		now = time.Since(began)
		for i := range int(n) {
			reply := replies[i][:in[i].len]
			if len(reply) < 12 {
				return res, fmt.Errorf("reply of %d bytes", len(reply))
			}
			rid := binary.BigEndian.Uint16(reply)
			latencies = append(latencies, now-sentAt[rid])
			if b.Check != nil {
				if err := b.Check(int(which[rid]), reply); err != nil {
					return res, err
				}
			}
		}
		res.Answered += int(n)
		open = max(0, open-int(n))
	}
	res.Took = time.Since(began)
	slices.Sort(latencies)
	if n := len(latencies); n > 0 {
		res.P50, res.P99 = latencies[n/2], latencies[n*99/100]
	}
	return res, nil
}
