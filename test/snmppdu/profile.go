package snmppdu

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Profile is one vendor's outlet table, below .1.3.6.1.4.1.
type Profile struct {
	ObjectID string
	Root     string   // all that the handler serves
	Outlets  []string // their indexes
	// Columns. {n} is the outlet's index, {n+1} the next one. Where OnColumn is empty one column takes both values.
	OffColumn, OnColumn, StatusColumn, PendingColumn, NameColumn string
	Off, On                                                      int
	StatusOff, StatusOn                                          int
	Moving, Locked                                               int // StatusColumn's words for these; 0: it has none
	PendingYes, PendingNo                                        int
}

const enterprises = ".1.3.6.1.4.1."

func numbered(n int, prefix string) []string {
	var list []string
	for i := range n {
		list = append(list, prefix+strconv.Itoa(i+1))
	}
	return list
}

// Profiles by name.
var Profiles = map[string]Profile{
	"apc-rpdu": {
		ObjectID: "318.1.3.4.5", Root: "318.1.1.12.3", Outlets: numbered(8, ""),
		OffColumn: "318.1.1.12.3.3.1.1.4.{n}", Off: 2, On: 1,
		StatusColumn: "318.1.1.12.3.5.1.1.4.{n}", StatusOff: 2, StatusOn: 1,
		PendingColumn: "318.1.1.12.3.5.1.1.5.{n}", PendingYes: 1, PendingNo: 2, NameColumn: "318.1.1.12.3.5.1.1.2.{n}",
	},
	"apc-rpdu2": {
		ObjectID: "318.1.3.4.6", Root: "318.1.1.26.9.2", Outlets: numbered(8, ""),
		OffColumn: "318.1.1.26.9.2.4.1.5.{n}", Off: 2, On: 1,
		StatusColumn: "318.1.1.26.9.2.3.1.5.{n}", StatusOff: 1, StatusOn: 2,
		PendingColumn: "318.1.1.26.9.2.3.1.6.{n}", PendingYes: 1, PendingNo: 2, NameColumn: "318.1.1.26.9.2.3.1.3.{n}",
	},
	"apc-msp": {
		ObjectID: "318.1.3.4.4", Root: "318.1.1.6", Outlets: numbered(8, "1.1."),
		OffColumn: "318.1.1.6.5.1.1.5.{n}", Off: 3, On: 1,
		StatusColumn: "318.1.1.6.7.1.1.5.{n}", StatusOff: 2, StatusOn: 1,
		PendingColumn: "318.1.1.6.7.1.1.6.{n}", PendingYes: 1, PendingNo: 2, NameColumn: "318.1.1.6.7.1.1.4.{n}",
	},
	"eaton-epdu": {
		ObjectID: "534.6.6.7", Root: "534.6.6.7", Outlets: numbered(8, "0."),
		OffColumn: "534.6.6.7.6.6.1.3.{n}", OnColumn: "534.6.6.7.6.6.1.4.{n}",
		StatusColumn: "534.6.6.7.6.6.1.2.{n}", StatusOff: 0, StatusOn: 1, Moving: 2, NameColumn: "534.6.6.7.6.1.1.3.{n}",
	},
	"eaton-revelation": {
		ObjectID: "534.6.6.6", Root: "534.6.6.6", Outlets: []string{"0", "1", "2", "3", "4", "5", "6", "7"},
		OffColumn: "534.6.6.6.1.2.2.1.3.{n}", Off: 0, On: 1,
		StatusColumn: "534.6.6.6.1.2.2.1.3.{n}", StatusOff: 0, StatusOn: 1, NameColumn: "534.6.6.6.1.2.2.1.1.{n}",
	},
	"eaton-pulizzi": {
		ObjectID: "20677.1", Root: "20677.2", Outlets: numbered(8, ""),
		OffColumn: "20677.2.6.2.{n+1}.0", Off: 2, On: 1,
		StatusColumn: "20677.2.6.3.{n}.0", StatusOff: 2, StatusOn: 1,
	},
	"raritan-px2": {
		ObjectID: "13742.6", Root: "13742.6", Outlets: numbered(8, "1."),
		OffColumn: "13742.6.4.1.2.1.2.{n}", Off: 0, On: 1,
		StatusColumn: "13742.6.4.1.2.1.3.{n}", StatusOff: 8, StatusOn: 7, NameColumn: "13742.6.3.5.3.1.3.{n}",
	},
	"servertech-sentry3": {
		ObjectID: "1718.3", Root: "1718.3", Outlets: numbered(8, "1.1."),
		OffColumn: "1718.3.2.3.1.11.{n}", Off: 2, On: 1,
		StatusColumn: "1718.3.2.3.1.5.{n}", StatusOff: 0, StatusOn: 1, Moving: 2, NameColumn: "1718.3.2.3.1.3.{n}",
	},
	"servertech-sentry4": {
		ObjectID: "1718.4", Root: "1718.4", Outlets: numbered(8, "1.1."),
		OffColumn: "1718.4.1.8.5.1.2.{n}", Off: 2, On: 1,
		StatusColumn: "1718.4.1.8.3.1.1.{n}", StatusOff: 2, StatusOn: 1, NameColumn: "1718.4.1.8.2.1.3.{n}",
	},
	"cyberpower-epdu": {
		ObjectID: "3808.1.1.3", Root: "3808.1.1.3", Outlets: numbered(8, ""),
		OffColumn: "3808.1.1.3.3.3.1.1.4.{n}", Off: 2, On: 1,
		StatusColumn: "3808.1.1.3.3.5.1.1.4.{n}", StatusOff: 2, StatusOn: 1,
		PendingColumn: "3808.1.1.3.3.5.1.1.5.{n}", PendingYes: 1, PendingNo: 2, NameColumn: "3808.1.1.3.3.5.1.1.2.{n}",
	},
	"vertiv-mph": {
		ObjectID: "476.1.42", Root: "476.1.42", Outlets: numbered(8, "1.1."),
		OffColumn: "476.1.42.3.8.50.20.1.100.{n}", Off: 0, On: 1,
		StatusColumn: "476.1.42.3.8.50.20.1.95.{n}", StatusOff: 1, StatusOn: 2, NameColumn: "476.1.42.3.8.50.20.1.10.{n}",
	},
	"avocent-pm": {
		ObjectID: "10418.17.1.7", Root: "10418.17.2", Outlets: numbered(8, "1.1."),
		OffColumn: "10418.17.2.5.5.1.6.{n}", Off: 3, On: 2,
		StatusColumn: "10418.17.2.5.5.1.5.{n}", StatusOff: 1, StatusOn: 2, Moving: 6, Locked: 4, NameColumn: "10418.17.2.5.5.1.4.{n}",
	},
	"tripplite": {
		ObjectID: "850.1", Root: "850.10", Outlets: numbered(8, "1."),
		OffColumn: "850.10.2.3.5.1.4.{n}", Off: 1, On: 2,
		StatusColumn: "850.10.2.3.5.1.2.{n}", StatusOff: 1, StatusOn: 2, NameColumn: "850.10.2.3.5.1.5.{n}",
	},
	"ibm-ipdu": {
		ObjectID: "2.6.223", Root: "2.6.223", Outlets: numbered(8, ""),
		OffColumn: "2.6.223.8.2.2.1.11.{n}", Off: 0, On: 1,
		StatusColumn: "2.6.223.8.2.2.1.11.{n}", StatusOff: 0, StatusOn: 1, NameColumn: "2.6.223.8.2.2.1.2.{n}",
	},
}

// object is one leaf of the tree.
type object struct {
	oid    []int
	outlet string
	kind   string // status, off, on, command, pending, name
}

// objects are the leaves in the order of their numbers.
func (p Profile) objects() ([]object, error) {
	columns := map[string]string{"status": p.StatusColumn, "pending": p.PendingColumn, "name": p.NameColumn}
	switch {
	case p.OnColumn != "":
		columns["off"], columns["on"] = p.OffColumn, p.OnColumn
	case p.OffColumn == p.StatusColumn:
		columns["status"] = "" // one object is written and read
		columns["both"] = p.OffColumn
	default:
		columns["command"] = p.OffColumn
	}
	var list []object
	for _, outlet := range p.Outlets {
		last, err := strconv.Atoi(outlet[strings.LastIndex(outlet, ".")+1:])
		if err != nil {
			return nil, fmt.Errorf("outlet %q: %w", outlet, err)
		}
		fill := strings.NewReplacer("{n}", outlet, "{n+1}", strconv.Itoa(last+1))
		for _, kind := range slices.Sorted(maps.Keys(columns)) {
			if columns[kind] == "" {
				continue
			}
			oid, err := parse(enterprises + fill.Replace(columns[kind]))
			if err != nil {
				return nil, err
			}
			list = append(list, object{oid: oid, outlet: outlet, kind: kind})
		}
	}
	slices.SortFunc(list, func(a, b object) int { return slices.Compare(a.oid, b.oid) })
	return list, nil
}

func parse(oid string) ([]int, error) {
	var list []int
	for label := range strings.SplitSeq(strings.TrimPrefix(strings.TrimSpace(oid), "."), ".") {
		n, err := strconv.Atoi(label)
		if err != nil {
			return nil, fmt.Errorf("%q is no OID", oid)
		}
		list = append(list, n)
	}
	return list, nil
}

func format(oid []int) string {
	var b strings.Builder
	for _, n := range oid {
		b.WriteString("." + strconv.Itoa(n))
	}
	return b.String()
}
