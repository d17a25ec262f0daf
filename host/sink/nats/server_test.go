package nats

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/postern/postern/host"
	"github.com/postern/postern/host/sink/sinktest"
)

// server starts a nats-server of the test's own, with more configuration, and
// returns its address.
func server(t *testing.T, config string) (address string, p *sinktest.Process) {
	t.Helper()
	binary := sinktest.Find(t, "nats-server", "/usr/sbin/nats-server")
	address = fmt.Sprintf("127.0.0.1:%d", sinktest.FreePort(t))
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte("listen: \""+address+"\"\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	p = &sinktest.Process{
		Command: func() *exec.Cmd { return exec.Command(binary, "-c", file) },
		Ready: func(context.Context) bool {
			c, err := net.DialTimeout("tcp", address, time.Second)
			if err != nil {
				return false
			}
			return c.Close() == nil
		},
	}
	p.Start(t)
	return address, p
}

// one delivers one event and returns what came of it.
func one(t *testing.T, s *Sink) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	errs := s.Deliver(ctx, sinktest.Batch(0, 1))
	if errs == nil {
		return nil
	}
	return errs[0]
}

func TestSink_tooLarge(t *testing.T) {
	t.Parallel()
	address, _ := server(t, "max_payload: 900\n")
	s := open(t, Config{Servers: []string{"nats://" + address}, Mode: Core})
	defer s.Close()
	batch := sinktest.Batch(0, 3)
	batch[1].Event.Subject = strings.Repeat("x", 900)
	errs := s.Deliver(t.Context(), batch)
	if len(errs) != 3 || errs[0] != nil || !host.IsPermanent(errs[1]) || errs[2] != nil {
		t.Fatalf("Deliver = %v, want the second alone refused for good", errs)
	}
	if !strings.Contains(errs[1].Error(), "max_payload") {
		t.Errorf("error %q does not say why", errs[1])
	}
}

// The server says nothing to a publish that it does not permit but an error on
// the side, before the PONG.
func TestSink_notPermitted(t *testing.T) {
	t.Parallel()
	const users = "authorization: {users: [{user: u, password: p, permissions: {publish: \"elsewhere.>\"}}]}\n"
	address, _ := server(t, users)
	s := open(t, Config{Servers: []string{"nats://" + address}, Mode: Core, User: "u", Password: "p"})
	defer s.Close()
	for range 2 { // the second time the complaint is not the first one
		err := one(t, s)
		if err == nil || host.IsPermanent(err) || !strings.Contains(err.Error(), "permit") {
			t.Errorf("Deliver = %v, want that it is not permitted", err)
		}
	}
	permitted := open(t, Config{Servers: []string{"nats://" + address}, Mode: Core, User: "u", Password: "p", Subject: "elsewhere.{type}"})
	defer permitted.Close()
	if err := one(t, permitted); err != nil {
		t.Error(err)
	}
}

func TestSink_withoutJetStream(t *testing.T) {
	t.Parallel()
	address, _ := server(t, "")
	for _, c := range []Config{{}, {Stream: "S", Create: Create{Subjects: []string{"postern.>"}}}} {
		c.Servers = []string{"nats://" + address}
		s := open(t, c)
		if err := one(t, s); err == nil || host.IsPermanent(err) {
			t.Errorf("Deliver = %v, want what may pass", err)
		} else {
			t.Log(err)
		}
		_ = s.Close()
	}
}

// logins are the ways to log in, right and wrong, to a server of each kind.
func TestSink_logsIn(t *testing.T) {
	t.Parallel()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := key.PublicKey()
	seed, _ := key.Seed()
	other, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	wrong, _ := other.Seed()
	for name, row := range map[string]struct {
		server      string
		right, lies Config
	}{
		"password": {"authorization: {user: u, password: right-canary}\n", Config{User: "u", Password: "right-canary"}, Config{User: "u", Password: "wrong-canary"}},
		"token":    {"authorization: {token: right-canary}\n", Config{Token: "right-canary"}, Config{Token: "wrong-canary"}},
		"nkey":     {"authorization: {users: [{nkey: " + public + "}]}\n", Config{NKey: string(seed)}, Config{NKey: string(wrong)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, _ := server(t, row.server)
			for _, c := range []*Config{&row.right, &row.lies} {
				c.Servers, c.Mode = []string{"nats://" + address}, Core
			}
			s := open(t, row.right)
			defer s.Close()
			if err := one(t, s); err != nil {
				t.Errorf("with the right one: %v", err)
			}
			liar := open(t, row.lies)
			defer liar.Close()
			err := one(t, liar)
			if err == nil || host.IsPermanent(err) || !strings.Contains(err.Error(), "refuses the credentials") {
				t.Errorf("with a wrong one: %v", err)
			}
			for _, secret := range []string{"canary", string(wrong), string(seed)} {
				if strings.Contains(fmt.Sprintf("%+v %#v", err, err), secret) {
					t.Error("an error text holds a secret")
				}
			}
		})
	}
}

// What was refused once is tried again, and found in order.
func TestSink_comesBackFromARefusedLogin(t *testing.T) {
	t.Parallel()
	address, p := server(t, "authorization: {token: other}\n")
	s := open(t, Config{Servers: []string{"nats://" + address}, Mode: Core, Token: "right"})
	defer s.Close()
	if err := one(t, s); err == nil {
		t.Fatal("a wrong token is taken")
	}
	p.Kill()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte("listen: \""+address+"\"\nauthorization: {token: right}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := p.Command().Path
	p.Command = func() *exec.Cmd { return exec.Command(binary, "-c", file) }
	p.Start(t)
	if err := one(t, s); err != nil {
		t.Error(err)
	}
}

// pair makes a certificate for 127.0.0.1, signed by itself, in two files.
func pair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestSink_speaksTLS(t *testing.T) {
	t.Parallel()
	cert, key := pair(t)
	other, _ := pair(t)
	address, _ := server(t, fmt.Sprintf("tls: {cert_file: %q, key_file: %q, ca_file: %q, verify: true}\n", cert, key, cert))
	for name, row := range map[string]struct {
		tls  TLS
		want string
	}{
		"both know each other":    {TLS{CA: cert, Cert: cert, Key: key}, ""},
		"without a certificate":   {TLS{CA: cert}, "publish to"}, // an alert, or a connection that ends
		"a server of another one": {TLS{CA: other, Cert: cert, Key: key}, "the certificate is not accepted"},
		"with the system's roots": {TLS{}, "the certificate is not accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, Config{Servers: []string{"tls://" + address}, Mode: Core, TLS: row.tls})
			defer s.Close()
			err := one(t, s)
			if row.want == "" && err != nil || row.want != "" && (err == nil || host.IsPermanent(err)) {
				t.Fatalf("Deliver = %v, want %q", err, row.want)
			}
			if err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("Deliver = %v, want %q in it", err, row.want)
			}
		})
	}
}

// What is not there when the sink starts is waited for like what goes later.
func TestSink_connectsOnceItCan(t *testing.T) {
	t.Parallel()
	address, p := server(t, "")
	p.Kill()
	s := open(t, Config{Servers: []string{"nats://" + address}, Mode: Core})
	defer s.Close()
	if err := one(t, s); err == nil || host.IsPermanent(err) {
		t.Errorf("without a server: %v, want what may pass", err)
	}
	p.Start(t)
	if err := one(t, s); err != nil {
		t.Errorf("with one: %v", err)
	}
	p.Kill()
	if err := one(t, s); err == nil || host.IsPermanent(err) {
		t.Errorf("when it is gone: %v, want what may pass", err)
	}
	p.Start(t)
	l, err := s.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	up := l.nc.StatusChanged(nats.CONNECTED)
	if !l.nc.IsConnected() {
		<-up
	}
	if err := one(t, s); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

func TestDialer_failedWriteEndsTheConnection(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer there.Close()
	c := strict{here}
	if err := c.SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Fatal("a write past its deadline succeeds")
	}
	_ = there.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := there.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the other end reads %v after a failed write, want %v", err, io.EOF)
	}
}
