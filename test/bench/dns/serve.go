package main

import (
	"context"
	"encoding/binary"
	"flag"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"github.com/parleyhq/parley/internal/edge"
	"github.com/parleyhq/parley/internal/edge/gslb"
)

// serve is the edge's name server with three regions. Its rate limit is so high
// that it is computed but never hit.
func serve(fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:5300", "")
	_ = fs.Parse(args)
	targets := []edge.Target{{Region: "japaneast"}, {Region: "koreacentral"}, {Region: "southeastasia"}}
	cfg := edge.Config{
		Regions: []edge.Region{
			{Name: "japaneast", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, At: &edge.Point{Lat: 36, Lon: 140}},
			{Name: "koreacentral", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}, At: &edge.Point{Lat: 37, Lon: 127}},
			{Name: "southeastasia", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.3")}, At: &edge.Point{Lat: 1, Lon: 104}},
		},
		Policies: []edge.Policy{{Name: "near", Method: edge.Performance, Targets: targets}, {Name: "first", Method: edge.Priority, Targets: targets}},
	}
	for i, country := range []string{"JP", "KR", "SG", "ID"} { // 10.0.0.0/8 in four parts
		cfg.Networks = append(cfg.Networks, edge.Network{Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i * 64)}), 10), Country: country})
	}
	e, err := edge.New(cfg, nil)
	if err != nil {
		return err
	}
	for _, r := range cfg.Regions {
		e.Observe(r.Name, edge.Ready, nil, time.Now())
	}
	s, err := gslb.New(gslb.Options{
		Edge: e, Listen: []string{*listen}, Rate: 10_000_000,
		Zones: []gslb.Zone{{Name: zone, Servers: []string{"ns.example.net"}, Names: []gslb.Name{{Name: "@", Policy: "near"}, {Name: "api", Policy: "first"}}}},
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := s.Start(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	s.Stop()
	return nil
}

// bare answers every query with the same address, or with NXDOMAIN to a name
// with a long first label, without looking at anything else.
func bare(fs *flag.FlagSet, args []string) error {
	listen := fs.String("listen", "127.0.0.1:5300", "")
	_ = fs.Parse(args)
	addr, err := net.ResolveUDPAddr("udp", *listen)
	if err != nil {
		return err
	}
	u, err := net.ListenUDP("udp", addr)
	if err != nil {
		return err
	}
	record := []byte{0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 10, 0, 4, 192, 0, 2, 1}
	buf := make([]byte, 4096)
	for {
		n, from, err := u.ReadFromUDPAddrPort(buf[:2048])
		if err != nil {
			return err
		}
		if n < 12 {
			continue
		}
		end := 12
		for end < n && buf[end] != 0 {
			end += 1 + int(buf[end])
		}
		end = min(end+5, n)
		out := append(buf[:end], record...)
		answers := uint16(1)
		out[2], out[3] = 0x84, 0
		if buf[12] == 8 {
			answers, out[3] = 0, 3
		}
		binary.BigEndian.PutUint16(out[6:], answers)
		binary.BigEndian.PutUint32(out[8:], 0)
		if _, err := u.WriteToUDPAddrPort(out, from); err != nil {
			return err
		}
	}
}
