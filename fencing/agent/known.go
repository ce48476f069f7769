package agent

import (
	"fmt"
	"slices"
	"strings"

	"quorate/fencing"
)

// risk is how far an agent's word can be trusted beyond what this package makes up for.
type risk string

const (
	low        risk = "low"        // reads the device at every call; no false success is known
	medium     risk = "medium"     // known to be wrong in cases that the settings can avoid
	high       risk = "high"       // its status may come from elsewhere than the device
	unassessed risk = "unassessed" // nobody has looked at it
)

// trait is what is known about an agent. Sources: fence-agents 4.12.1 as Debian ships it, and its HEAD 0804740; "ran" where
// it was seen in a run.
type trait struct {
	proves   fencing.Grade
	risk     risk
	why      string   // for the operator, where risk is not low
	demand   string   // an option without which it may switch another machine
	parallel bool     // a connectionless device: several plugs at once do no harm
	forbid   []string // options that make its success unverifiable
	useless  string   // it proves nothing about power: why
}

var (
	outlet = trait{proves: fencing.GradeFeedsOff, risk: low}
	snmp   = trait{
		proves: fencing.GradeFeedsOff, risk: medium, parallel: true,
		why: "with several plugs in one call it switches the first and reports success for all (ran); each plug gets calls of its own here",
	}
	machine = trait{proves: fencing.GradeObservedOff, risk: low}
	ipmi    = trait{
		proves: fencing.GradeObservedOff, risk: medium, forbid: []string{"method"},
		why: "method=cycle cannot be verified and is refused",
	}
	cloud = trait{
		proves: fencing.GradeObservedOff, risk: medium,
		why: "it tells what the cloud's interface says, and a stop can take minutes: give it attempt_timeout",
	}
	fabric = trait{useless: "it cuts a machine off from storage and leaves it running; no grade of evidence stands for that"}
)

// known names the agents that were assessed. Others can be used, with a warning.
var known = map[string]trait{
	"fence_redfish": {
		proves: fencing.GradeObservedOff, risk: medium, demand: "systems_uri",
		why: "it takes the last of several systems, and never returns from a silent BMC (ran): it is killed here; prefer the driver redfish",
	},
	"fence_apc_snmp": snmp, "fence_eaton_snmp": snmp, "fence_tripplite_snmp": snmp, "fence_ipdu": snmp,
	"fence_apc": outlet, "fence_wti": outlet, "fence_raritan": outlet, "fence_raritan_px3": outlet, "fence_netio": outlet,
	"fence_cyberpower_ssh": outlet, "fence_emerson": outlet, "fence_eps": outlet, "fence_lindypdu": outlet, "fence_powerman": outlet,
	"fence_ipmilan": ipmi, "fence_ipmilanplus": ipmi, "fence_idrac": ipmi, "fence_ilo3": ipmi, "fence_ilo4": ipmi, "fence_ilo5": ipmi,
	"fence_imm": ipmi,
	"fence_ilo": machine, "fence_ilo_ssh": machine, "fence_drac5": machine, "fence_cisco_ucs": machine, "fence_hpblade": machine,
	"fence_virsh": machine, "fence_pve": machine, "fence_vmware_rest": machine, "fence_vmware_soap": machine, "fence_xenapi": machine,
	"fence_rhevm": machine, "fence_lpar": machine, "fence_zvmip": machine, "fence_bladecenter": machine,
	"fence_aws": cloud, "fence_azure_arm": cloud, "fence_gce": cloud, "fence_openstack": cloud, "fence_ibm_vpc": cloud, "fence_aliyun": cloud,
	"fence_dummy": {
		proves: fencing.GradeObservedOff, risk: high,
		why: "it writes \"off\" into a file and reads it back: for trying things out only",
	},
	"fence_scsi": fabric, "fence_mpath": fabric, "fence_brocade": fabric, "fence_ifmib": fabric, "fence_cisco_mds": fabric, "fence_sanbox2": fabric,
	"fence_evacuate":        {useless: "it moves machines and switches none off"},
	"fence_compute":         {useless: "it moves machines and switches none off"},
	"fence_heuristics_ping": {useless: "it decides who may fence and switches nothing off; here the log decides that"},
	"fence_kdump":           {useless: "it waits for a crash dump and switches nothing off"},
	"fence_ack_manual":      {useless: "a person confirms with witnessctl fence confirm-off, under a name: use the driver manual"},
	"fence_sbd":             {useless: "it writes a request to a shared disk; evidence by time is what the driver watchdog gives"},
	"fence_watchdog":        {useless: "it does nothing itself; evidence by time is what the driver watchdog gives"},
}

// traitOf is what is known about an agent, by its name.
func traitOf(name string) trait {
	if t, ok := known[name]; ok {
		return t
	}
	return trait{proves: fencing.GradeObservedOff, risk: unassessed, why: "nobody has assessed this agent: test it by pulling the plug behind its back"}
}

// reserved are options that are set here, or that would undo what is promised: a delay, a log file with the password in it,
// a script to run, a way to fence that cannot be verified.
var reserved = map[string]string{
	"action": "this driver sets it", "option": "this driver sets it", "plug": "use the setting plug", "port": "use the setting plug",
	"nodename": "this driver sets it", "delay": "the decision has been made: nothing is delayed", "debug": "the password would be in the file",
	"debug_file": "the password would be in the file", "verbose": "the password would be in the output", "verbose_level": "the password would be in the output",
	"password_script": "programs are not run from the settings", "passwd_script": "programs are not run from the settings",
	"snmp_priv_passwd_script": "programs are not run from the settings",
	"help":                    "it does nothing but print", "version": "it does nothing but print", "quiet": "what the agent says is evidence",
}

// faultsOf lists what is wrong with the options for this agent.
func (t trait) faultsOf(options map[string]string) []error {
	var faults []error
	for name, value := range options {
		if why := reserved[name]; why != "" {
			faults = append(faults, fmt.Errorf("agent: option.%s cannot be set: %s", name, why))
		}
		if slices.Contains(t.forbid, name) && value != "onoff" {
			faults = append(faults, fmt.Errorf("agent: option.%s=%s cannot be verified: leave it out", name, value))
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			faults = append(faults, fmt.Errorf("agent: option.%s has more than one line, which the agent would read as further options", name))
		}
		if name == "" || strings.ContainsAny(name, " \t=#\r\n\x00") {
			faults = append(faults, fmt.Errorf("agent: option.%q is not a name of an option", name))
		}
	}
	return faults
}

// secret reports whether an option's value must not be seen. What is not known to be harmless by its name counts as one.
func secret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"pass", "secret", "token", "key", "community", "priv", "credential"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
