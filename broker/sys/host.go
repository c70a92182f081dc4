package sys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"

	"leasehold/engine"
)

// hostInfo shows the machine. What cannot be read is named in a warning, and its field is empty.
//
// Wire: GET sys/host-info. The fields' own fields are those of gopsutil.
func (s *system) hostInfo(ctx context.Context, _ *engine.Request, _ *engine.Fields) (*engine.Response, error) {
	resp := &engine.Response{Data: map[string]any{"timestamp": s.b.Now()}}
	part := func(name string, empty, found any, err error) {
		resp.Data[name] = empty
		if err == nil {
			resp.Data[name], err = plain(found)
		}
		if err != nil {
			resp.Warn(fmt.Sprintf("%s could not be read", name))
		}
	}
	processors, err := cpu.InfoWithContext(ctx)
	part("cpu", []any{}, processors, err)
	times, err := cpu.TimesWithContext(ctx, true)
	part("cpu_times", []any{}, times, err)
	memory, err := mem.VirtualMemoryWithContext(ctx)
	part("memory", map[string]any{}, memory, err)
	disks, err := diskUsage(ctx)
	part("disk", []any{}, disks, err)
	machine, err := machineInfo(ctx)
	part("host", map[string]any{}, machine, err)
	return resp, nil
}

// plain is a value as the wire has it.
func plain(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(text, &out)
}

// diskUsage leaves out what cannot be asked, such as a share whose server is away.
func diskUsage(ctx context.Context) ([]*disk.UsageStat, error) {
	partitions, err := disk.PartitionsWithContext(ctx, false)
	if err != nil {
		return nil, err
	}
	used := []*disk.UsageStat{}
	for _, p := range partitions {
		if usage, err := disk.UsageWithContext(ctx, p.Mountpoint); err == nil {
			used = append(used, usage)
		}
	}
	return used, nil
}

// machineInfo asks for each fact by itself: asked for all, the library may run a program to learn the distribution's name.
func machineInfo(ctx context.Context) (host.InfoStat, error) {
	info := host.InfoStat{Hostname: hostname(), OS: runtime.GOOS, KernelArch: runtime.GOARCH}
	var failed [4]error
	info.BootTime, failed[0] = host.BootTimeWithContext(ctx)
	info.Uptime, failed[1] = host.UptimeWithContext(ctx)
	info.KernelVersion, failed[2] = host.KernelVersionWithContext(ctx)
	info.VirtualizationSystem, info.VirtualizationRole, failed[3] = host.VirtualizationWithContext(ctx)
	return info, errors.Join(failed[:]...)
}
