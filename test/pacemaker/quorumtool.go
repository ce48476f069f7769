package pacemaker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"quorate/test/lab"
)

// parseQuorum reads the output of corosync-quorumtool -s -i on the given node.
func parseQuorum(text string, node int) (Quorum, error) {
	var q Quorum
	seen := false
	list := false
	for line := range strings.Lines(text) {
		key, value, found := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		first := strings.Fields(value + " -")[0]
		switch strings.TrimSpace(key) {
		case "Quorate":
			q.Quorate, seen = value == "Yes", true
		case "Expected votes":
			q.Expected, _ = strconv.Atoi(first)
		case "Total votes":
			q.Total, _ = strconv.Atoi(first)
		case "Quorum":
			q.Needed, _ = strconv.Atoi(first)
		}
		if strings.Contains(line, "Nodeid") {
			list = true
			continue
		}
		fields := strings.Fields(line)
		if !list || found || len(fields) < 3 {
			continue
		}
		id, err := strconv.Atoi(fields[0])
		if err != nil || id == 0 { // 0 is the device
			continue
		}
		q.Members = append(q.Members, id)
		if id == node {
			q.Device = fields[2]
		}
	}
	if !seen {
		return q, fmt.Errorf("corosync-quorumtool did not say whether it is quorate: %q", text)
	}
	return q, nil
}

// deviceStatus asks a node's corosync-qdevice how it is; the keys are as
// corosync-qdevice-tool prints them.
func (n *Node) deviceStatus(ctx context.Context) (map[string]string, error) {
	out, err := n.Host.Exec(ctx, lab.Command{Argv: []string{"corosync-qdevice-tool", "-s", "-v"}})
	if err != nil {
		return nil, err
	}
	status := map[string]string{}
	for line := range strings.Lines(out) {
		if key, value, found := strings.Cut(line, ":"); found {
			status[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return status, nil
}

// WaitEcho waits until the quorum device has just answered the node's heartbeat.
// A device that is lost from then on is missed by the node as late as can be.
func (n *Node) WaitEcho(ctx context.Context) error {
	const key = "Echo reply received"
	before := ""
	return lab.Until(ctx, bound, "an echo to "+n.Name, func(ctx context.Context) error {
		status, err := n.deviceStatus(ctx)
		if err != nil {
			return err
		}
		if status[key] == "" {
			return fmt.Errorf("none yet: %v", status)
		}
		if before == "" {
			before = status[key]
		}
		if status[key] == before {
			return errors.New("none since " + before)
		}
		return nil
	})
}
