package pdu

// The numbering schemes.
var (
	plain     = []component{{name: "outlet"}}
	unitFirst = []component{{name: "unit", fallback: "0"}, {name: "outlet"}}
)

// models is the table. OIDs are below enterprises. Each row names a MIB of the vendor or a program that drives the device;
// where two of them contradict each other the vendor's MIB is followed, and the row says so.
var models = []model{
	{
		name: "apc-rpdu", title: "APC Rack PDU AP79xx",
		objectIDs: []string{"318.1.3.4.5"}, index: plain,
		off: command{"318.1.1.12.3.3.1.1.4.{outlet}", 2}, on: command{"318.1.1.12.3.3.1.1.4.{outlet}", 1},
		status: "318.1.1.12.3.5.1.1.4.{outlet}", states: states{off: 2, on: 1},
		pending: pending{"318.1.1.12.3.5.1.1.5.{outlet}", 2},
		never:   map[int64]string{3: "immediateReboot", 4: "delayedOn", 5: "delayedOff", 6: "delayedReboot", 7: "cancelPendingCommand"},
		source:  "PowerNet-MIB rPDUOutletControlOutletCommand, rPDUOutletStatusOutletState; fence_apc_snmp ApcRPDU",
	},
	{
		name: "apc-rpdu2", title: "APC Rack PDU 2G AP84xx, AP86xx, AP88xx, AP89xx",
		objectIDs: []string{"318.1.3.4.6"}, index: plain,
		off: command{"318.1.1.26.9.2.4.1.5.{outlet}", 2}, on: command{"318.1.1.26.9.2.4.1.5.{outlet}", 1},
		status: "318.1.1.26.9.2.3.1.5.{outlet}", states: states{off: 1, on: 2}, // the reverse of the command's
		pending: pending{"318.1.1.26.9.2.3.1.6.{outlet}", 2},
		never:   map[int64]string{3: "immediateReboot", 4: "outletUnknown", 5: "delayedOn", 6: "delayedOff", 7: "delayedReboot", 8: "cancelPendingCommand"},
		source:  "PowerNet-MIB rPDU2OutletSwitchedControlCommand, rPDU2OutletSwitchedStatusState",
	},
	{
		name: "apc-msp", title: "APC MasterSwitch plus",
		objectIDs: []string{"318.1.3.4.4"}, index: []component{{"switch", "1"}, {name: "outlet"}},
		off: command{"318.1.1.6.5.1.1.5.{switch}.1.{outlet}", 3}, on: command{"318.1.1.6.5.1.1.5.{switch}.1.{outlet}", 1},
		status: "318.1.1.6.7.1.1.5.{switch}.1.{outlet}", states: states{off: 2, on: 1},
		pending: pending{"318.1.1.6.7.1.1.6.{switch}.1.{outlet}", 2},
		never: map[int64]string{
			2: "delayedOnMSP", 4: "gracefulRebootMSP", 5: "immediateRebootMSP", 6: "gracefulshutdownMSP",
			7: "overrideBatCapThreshMSP", 8: "cancelPendingCommandMSP",
		},
		source: "PowerNet-MIB sPDUOutletControlMSPOutletCommand, sPDUOutletStatusMSPOutletState; fence_apc_snmp ApcMSP",
	},
	{
		name: "apc-masterswitch", title: "APC MasterSwitch",
		objectIDs: []string{"318.1.3.4"}, index: plain, // what no other row takes
		off: command{"318.1.1.4.4.2.1.3.{outlet}", 2}, on: command{"318.1.1.4.4.2.1.3.{outlet}", 1},
		status:  "318.1.1.4.4.2.1.3.{outlet}",
		states:  states{off: 2, on: 1, moving: map[int64]string{3: "outletReboot"}, others: map[int64]string{4: "outletUnknown"}},
		pending: pending{"318.1.1.4.4.2.1.2.{outlet}", 2},
		never:   map[int64]string{3: "outletReboot", 5: "outletOnWithDelay", 6: "outletOffWithDelay", 7: "outletRebootWithDelay"},
		source:  "PowerNet-MIB sPDUOutletCtl, sPDUOutletPending; fence_apc_snmp ApcMS; nut apc-pdu-mib.c",
	},
	{
		name: "eaton-epdu", title: "Eaton ePDU G2, G3",
		objectIDs: []string{"534.6.6.7"}, index: unitFirst,
		// Two columns; the value is the delay in seconds, so 0 is the only one that is immediate.
		off: command{"534.6.6.7.6.6.1.3.{unit}.{outlet}", 0}, on: command{"534.6.6.7.6.6.1.4.{unit}.{outlet}", 0},
		status: "534.6.6.7.6.6.1.2.{unit}.{outlet}",
		states: states{off: 0, on: 1, moving: map[int64]string{2: "pendingOff", 3: "pendingOn"}},
		source: "EATON-EPDU-MIB outletControlOffCmd, outletControlOnCmd, outletControlStatus; nut eaton-pdu-marlin-mib.c",
	},
	{
		name: "eaton-revelation", title: "Eaton Revelation and Managed ePDU; its table counts outlets from 0",
		objectIDs: []string{"534.6.6.6"}, index: plain,
		off: command{"534.6.6.6.1.2.2.1.3.{outlet}", 0}, on: command{"534.6.6.6.1.2.2.1.3.{outlet}", 1},
		status: "534.6.6.6.1.2.2.1.3.{outlet}",
		states: states{off: 0, on: 1, moving: map[int64]string{2: "cycling"}, others: map[int64]string{-1: "error"}},
		never:  map[int64]string{2: "cycle"},
		source: "fence_eaton_snmp EatonManagedePDU; nut eaton-pdu-revelation-mib.c",
	},
	{
		name: "eaton-pulizzi", title: "Eaton Switched ePDU, Pulizzi",
		objectIDs: []string{"20677.1", "20677.2"}, index: plain,
		// Index 1 of the command column is all outlets together, so outlet 1 is index 2 there, and index 1 of the status.
		off: command{"20677.2.6.2.{outlet+1}.0", 2}, on: command{"20677.2.6.2.{outlet+1}.0", 1},
		status: "20677.2.6.3.{outlet}.0", states: states{off: 2, on: 1, others: map[int64]string{0: "absent"}},
		never:  map[int64]string{3: "cycle"},
		source: "fence_eaton_snmp EatonSwitchedePDU; nut eaton-pdu-pulizzi-mib.c (SU_CMD_OFFSET)",
	},
	{
		name: "raritan-px2", title: "Raritan PX2, PX3",
		objectIDs: []string{"13742.6"}, index: []component{{"pdu", "1"}, {name: "outlet"}},
		off: command{"13742.6.4.1.2.1.2.{pdu}.{outlet}", 0}, on: command{"13742.6.4.1.2.1.2.{pdu}.{outlet}", 1},
		status: "13742.6.4.1.2.1.3.{pdu}.{outlet}", // SensorStateEnumeration, with words for all kinds of sensors
		states: states{off: 8, on: 7, others: map[int64]string{-1: "unavailable", 0: "open", 1: "closed", 17: "standby"}},
		never:  map[int64]string{2: "cycle"},
		source: "PDU2-MIB switchingOperation, outletSwitchingState; nut raritan-px2-mib.c",
	},
	{
		name: "raritan-px1", title: "Raritan PX1 (Dominion PX)",
		objectIDs: []string{"13742"}, index: plain,
		off: command{"13742.1.2.2.1.3.{outlet}", 0}, on: command{"13742.1.2.2.1.3.{outlet}", 1},
		status: "13742.1.2.2.1.3.{outlet}",
		states: states{off: 0, on: 1, moving: map[int64]string{2: "cycling"}, others: map[int64]string{-1: "error"}},
		never:  map[int64]string{2: "cycle"},
		source: "PDU-MIB outletOperationalState (outlets from 1); nut raritan-pdu-mib.c (outlets from 0)",
	},
	{
		name: "servertech-sentry3", title: "Server Technology Sentry3",
		objectIDs: []string{"1718.3"}, index: []component{{name: "tower"}, {name: "infeed"}, {name: "outlet"}},
		off: command{"1718.3.2.3.1.11.{tower}.{infeed}.{outlet}", 2}, on: command{"1718.3.2.3.1.11.{tower}.{infeed}.{outlet}", 1},
		status: "1718.3.2.3.1.5.{tower}.{infeed}.{outlet}",
		states: states{
			off: 0, on: 1, moving: map[int64]string{2: "offWait", 3: "onWait"},
			others: map[int64]string{4: "offError", 5: "onError", 6: "noComm", 7: "reading", 8: "offFuse", 9: "onFuse"},
		},
		never:  map[int64]string{0: "none", 3: "reboot"},
		source: "Sentry3-MIB outletControlAction, outletStatus",
	},
	{
		name: "servertech-sentry4", title: "Server Technology Sentry4, PRO1, PRO2",
		objectIDs: []string{"1718.4"}, index: []component{{name: "unit"}, {name: "cord"}, {name: "outlet"}},
		off: command{"1718.4.1.8.5.1.2.{unit}.{cord}.{outlet}", 2}, on: command{"1718.4.1.8.5.1.2.{unit}.{cord}.{outlet}", 1},
		// DeviceState. Secondary tables give 0 as off, as in Sentry3; in the vendor's MIB 0 is unknown.
		status: "1718.4.1.8.3.1.1.{unit}.{cord}.{outlet}", states: states{off: 2, on: 1, others: map[int64]string{0: "unknown"}},
		never:  map[int64]string{0: "none", 3: "reboot", 4: "queueOn", 5: "queueOff", 6: "queueReboot"},
		source: "Sentry4-MIB 202303101100Z st4OutletControlAction, st4OutletState (DeviceState)",
	},
	{
		name: "cyberpower-epdu", title: "CyberPower ePDU",
		objectIDs: []string{"3808.1.1.3", "=3808"}, index: plain,
		off: command{"3808.1.1.3.3.3.1.1.4.{outlet}", 2}, on: command{"3808.1.1.3.3.3.1.1.4.{outlet}", 1},
		status: "3808.1.1.3.3.5.1.1.4.{outlet}", states: states{off: 2, on: 1},
		pending: pending{"3808.1.1.3.3.5.1.1.5.{outlet}", 2},
		never: map[int64]string{
			3: "immediateReboot", 4: "delayedOn", 5: "delayedOff", 6: "delayedReboot", 7: "cancelPendingCommand", 8: "outletIdentify",
		},
		source: "CPS-MIB ePDUOutletControlOutletCommand, ePDUOutletStatusOutletState",
	},
	{
		name: "vertiv-geist", title: "Vertiv Geist upgradeable (IMD)",
		objectIDs: []string{"21239.5.2"}, index: plain,
		// A third-party source has 1 as off and 0 as the off state; that would have switched nothing, or on.
		off: command{"21239.5.2.3.5.1.6.{outlet}", 4}, on: command{"21239.5.2.3.5.1.6.{outlet}", 2},
		status: "21239.5.2.3.5.1.4.{outlet}",
		states: states{
			off: 2, on: 1, moving: map[int64]string{3: "on2off", 4: "off2on", 5: "rebootOn", 6: "rebootOff"},
			others: map[int64]string{7: "unavailable"},
		},
		never:  map[int64]string{1: "cancel", 3: "onAfterDelay", 5: "offAfterDelay", 6: "reboot", 7: "rebootAfterDelay", 8: "none"},
		source: "VERTIV-V5-MIB pduOutletSwitchControl, pduOutletSwitchState",
	},
	{
		name: "vertiv-mph", title: "Vertiv (Emerson, Liebert) MPX, MPH",
		objectIDs: []string{"476.1.42"}, index: []component{{name: "pdu"}, {name: "branch"}, {name: "receptacle"}},
		off: command{"476.1.42.3.8.50.20.1.100.{pdu}.{branch}.{receptacle}", 0}, on: command{"476.1.42.3.8.50.20.1.100.{pdu}.{branch}.{receptacle}", 1},
		status: "476.1.42.3.8.50.20.1.95.{pdu}.{branch}.{receptacle}",
		states: states{off: 1, on: 2, moving: map[int64]string{3: "off-pending-on-delay"}, others: map[int64]string{0: "unknown"}},
		never:  map[int64]string{2: "cycle-power"},
		source: "LIEBERT-GP-PDU-MIB lgpPduRcpEntryControl, lgpPduRcpEntryPwrState; fence_emerson",
	},
	{
		name: "avocent-pm", title: "Avocent (Cyclades) PM",
		objectIDs: []string{"10418.17.1.7"}, index: []component{{"port", "1"}, {name: "pdu"}, {name: "outlet"}},
		off: command{"10418.17.2.5.5.1.6.{port}.{pdu}.{outlet}", 3}, on: command{"10418.17.2.5.5.1.6.{port}.{pdu}.{outlet}", 2},
		status: "10418.17.2.5.5.1.5.{port}.{pdu}.{outlet}",
		states: states{
			off: 1, on: 2, moving: map[int64]string{5: "offCycle", 6: "onPendingOff", 7: "offPendingOn", 8: "onPendingCycle"},
			others: map[int64]string{0: "not supported", 3: "offLocked", 4: "onLocked", 9: "notSet", 10: "onFixed", 11: "offShutdown", 12: "tripped"},
		},
		never:  map[int64]string{1: "noAction", 4: "powerCycle", 5: "powerLock", 6: "powerUnlock"},
		source: "PM-MIB pmPowerMgmtOutletsTablePowerControl, pmPowerMgmtOutletsTableStatus; nut emerson-avocent-pdu-mib.c",
	},
	{
		name: "tripplite", title: "Tripp Lite",
		objectIDs: []string{"850.1"}, index: []component{{"device", "1"}, {name: "outlet"}},
		off: command{"850.10.2.3.5.1.4.{device}.{outlet}", 1}, on: command{"850.10.2.3.5.1.4.{device}.{outlet}", 2},
		status: "850.10.2.3.5.1.2.{device}.{outlet}", states: states{off: 1, on: 2, others: map[int64]string{0: "unknown"}},
		never:  map[int64]string{0: "idle", 3: "cycle"},
		source: "fence_apc_snmp TripplitePDU",
	},
	{
		name: "tripplite-lx", title: "Tripp Lite with WEBCARDLX",
		objectIDs: []string{"850.1.1.1"}, index: []component{{"device", "1"}, {name: "outlet"}},
		off: command{"850.1.1.3.2.3.3.1.1.6.{device}.{outlet}", 1}, on: command{"850.1.1.3.2.3.3.1.1.6.{device}.{outlet}", 2},
		status: "850.1.1.3.2.3.3.1.1.4.{device}.{outlet}", states: states{off: 1, on: 2, others: map[int64]string{0: "unknown"}},
		never:  map[int64]string{0: "idle", 3: "cycle"},
		source: "TRIPPLITE-PRODUCTS tlpPduOutletCommand, tlpPduOutletState; fence_apc_snmp TrippliteLXPDU",
	},
	{
		name: "hpe-epdu", title: "HPE ePDU",
		objectIDs: []string{"232.165.7"}, index: unitFirst,
		off: command{"232.165.7.5.2.1.2.{unit}.{outlet}", 0}, on: command{"232.165.7.5.2.1.3.{unit}.{outlet}", 0},
		status: "232.165.7.5.2.1.1.{unit}.{outlet}",
		states: states{off: 1, on: 2, moving: map[int64]string{3: "pendingOff", 4: "pendingOn"}},
		source: "CPQPOWER-MIB pdu2OutletControlOffCmd, pdu2OutletControlOnCmd, pdu2OutletControlStatus; nut hpe-pdu-mib.c",
	},
	{
		name: "hpe-pdu3", title: "HPE ePDU, pdu3",
		objectIDs: []string{"232.165.11"}, index: []component{{"unit", "1"}, {name: "outlet"}},
		off: command{"232.165.11.5.2.1.2.{unit}.{outlet}", 0}, on: command{"232.165.11.5.2.1.3.{unit}.{outlet}", 0},
		status: "232.165.11.5.2.1.1.{unit}.{outlet}",
		states: states{off: 1, on: 2, moving: map[int64]string{3: "pendingOff", 4: "pendingOn"}},
		source: "nut hpe-pdu3-cis-mib.c",
	},
	{
		name: "ibm-ipdu", title: "IBM iPDU",
		objectIDs: []string{"2.6.223"}, index: plain,
		off: command{"2.6.223.8.2.2.1.11.{outlet}", 0}, on: command{"2.6.223.8.2.2.1.11.{outlet}", 1},
		status: "2.6.223.8.2.2.1.11.{outlet}", states: states{off: 0, on: 1},
		never:  map[int64]string{2: "cycle"},
		source: "fence_ipdu IBMiPDU",
	},
	{
		name: "baytech", title: "BayTech",
		objectIDs: []string{"4779"}, index: []component{{"unit", "1"}, {name: "outlet"}},
		off: command{"4779.1.3.5.3.1.3.{unit}.{outlet}", 0}, on: command{"4779.1.3.5.3.1.3.{unit}.{outlet}", 1},
		status: "4779.1.3.5.3.1.3.{unit}.{outlet}",
		states: states{
			off: 0, on: 1, moving: map[int64]string{2: "reboot"},
			others: map[int64]string{-1: "error", 3: "lockon", 4: "lockoff", 5: "unlock", 6: "unknown"},
		},
		never:  map[int64]string{2: "reboot", 3: "lockon", 4: "lockoff", 5: "unlock"},
		source: "Baytech-MIB-403-1; nut baytech-mib.c",
	},
	{
		name: "aten-pe", title: "ATEN PE",
		objectIDs: []string{"21317.1.3"}, index: plain,
		off: command{"21317.1.3.2.2.2.2.{outlet+1}.0", 1}, on: command{"21317.1.3.2.2.2.2.{outlet+1}.0", 2},
		status: "21317.1.3.2.2.2.2.{outlet+1}.0",
		states: states{
			off: 1, on: 2, moving: map[int64]string{3: "pending", 4: "reboot"},
			others: map[int64]string{5: "fault", 6: "noauth", 7: "not-support", 8: "pop"},
		},
		never:  map[int64]string{3: "pending", 4: "reboot"},
		source: "ATEN-PE-CFG outlet1Status and following; stb-tester issue 165",
	},
	{
		name: "teltronix", title: "Teltronix",
		objectIDs: []string{"23620.1"}, index: plain,
		off: command{"23620.1.2.2.1.4.{outlet}", 1}, on: command{"23620.1.2.2.1.4.{outlet}", 2},
		status: "23620.1.2.2.1.4.{outlet}", states: states{off: 1, on: 2},
		source: "ironic's former SNMP driver, SNMPDriverTeltronix",
	},
}
