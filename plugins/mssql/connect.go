package mssql

import (
	"context"
	"database/sql/driver"
	"net"
	"sync"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"
)

// connectTimeout is how long one attempt to log in may take.
const connectTimeout = 15 * time.Second

// connector opens connections.
type connector struct{ config msdsn.Config }

// Connect implements [driver.Connector]. The driver heeds ctx only until it has dialled: a server that takes the connection and is silent
// then is cut off here.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	config := c.config
	if config.TLSConfig != nil {
		config.TLSConfig = config.TLSConfig.Clone() // the driver writes to it
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	d := &cuttingDialer{}
	one := mssql.NewConnectorConfig(config)
	one.Dialer = d
	stop := context.AfterFunc(ctx, d.cut)
	conn, err := one.Connect(ctx)
	if !stop() && err == nil { // it may have been cut
		_ = conn.Close()
		return nil, context.Cause(ctx)
	}
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return conn, err
}

// Driver implements [driver.Connector].
func (c connector) Driver() driver.Driver { return mssql.NewConnectorConfig(c.config).Driver() }

// cuttingDialer remembers what it dialled.
type cuttingDialer struct {
	net.Dialer
	mu     sync.Mutex
	dialed []net.Conn
	done   bool
}

// DialContext implements the driver's Dialer.
func (d *cuttingDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done {
		_ = conn.Close()
		return nil, context.DeadlineExceeded
	}
	d.dialed = append(d.dialed, conn)
	return conn, nil
}

// cut closes the connections, those that are dialled later included.
func (d *cuttingDialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = true
	for _, conn := range d.dialed {
		_ = conn.Close()
	}
}
