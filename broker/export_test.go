package broker

// Hide takes a mount out of service and stops there, as a process does that dies next.
var Hide = (*Broker).hide
