package denclave

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestCBORIsReadInEveryFormThatIsWellFormedAndInNoOther(t *testing.T) {
	for text, wanted := range map[string]any{
		"a161618101":                       map[any]any{"a": []any{int64(1)}},
		"bf61619f01ffff":                   map[any]any{"a": []any{int64(1)}},
		"bf7801619b00000000000000011801ff": map[any]any{"a": []any{int64(1)}},
		"a1013822":                         map[any]any{int64(1): int64(-35)},
		"83f4f5f6":                         []any{false, true, nil},
		"bf616101616102ff":                 nil,
		"a20001180001":                     nil,
		"bf6161ff":                         nil,
		"bf616101":                         nil,
		"a16161ff":                         nil,
		"bf616101ff00":                     nil,
		"5f4101ff":                         nil,
		"7f6161ff":                         nil,
		"9f9f9f9f9f00ffffffffff":           nil,
		"a1f501":                           nil,
		"a18000":                           nil,
		"18":                               nil,
		"":                                 nil,
		"9b7fffffffffffffff":               nil,
		"5bffffffffffffffff":               nil,
		"1bffffffffffffffff":               nil,
		"61ff":                             nil,
	} {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		found, err := cborDecode(raw)
		if wanted == nil && err == nil {
			t.Errorf("%s was read: %v", text, found)
		}
		if wanted != nil && !reflect.DeepEqual(found, wanted) {
			t.Errorf("%s: %v, %v", text, found, err)
		}
	}
}

// What docs/protocol.md says of a sealed request.
func protocolExample(t *testing.T) map[string]string {
	document, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(document), "\n## Sealed requests")
	cells := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (.+?) \\| `([0-9a-f]+)` \\|$").FindAllStringSubmatch(example, -1) {
		cells[row[1]] = row[2]
	}
	return cells
}

func counting(from byte, length int) []byte {
	raw := make([]byte, length)
	for index := range raw {
		raw[index] = from + byte(index)
	}
	return raw
}

func TestASealedRequestHasTheBytesOfTheProtocol(t *testing.T) {
	cells := protocolExample(t)
	key := func(from byte) *ecdh.PrivateKey {
		found, err := ecdh.X25519().NewPrivateKey(counting(from, 32))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	times := [3]int64{1700000000000, 1700000001000, 1700000061000}
	public := key(0xe0).PublicKey().Bytes()
	made, err := sealMessage(public, []byte(`{"type":"ping"}`), counting(0xb0, 16), 1, times, nil, key(0x40))
	if err != nil {
		t.Fatal(err)
	}
	if found := hex.EncodeToString(made.context.enc); found != cells["`enc`"] {
		t.Errorf("enc is %s", found)
	}
	if found := hex.EncodeToString(made.ciphertext); found != cells["`ciphertext`"] {
		t.Errorf("ciphertext is %s", found)
	}
	reply, err := hex.DecodeString(cells["the reply's `ciphertext`"])
	if err != nil {
		t.Fatal(err)
	}
	opened, err := made.open(reply)
	if err != nil || string(opened) != `{"status":"ok","msg":"pong","timestamp":"2023-11-14T22:13:21.000Z"}` {
		t.Errorf("the reply is %s, %v", opened, err)
	}
	reply[0] ^= 1
	if _, err := made.open(reply); err == nil {
		t.Error("a changed reply was opened")
	}
}

func TestNoChangedDocumentIsTakenOrEndsTheProgram(t *testing.T) {
	text, err := os.ReadFile("../../tests/fixtures/gold/gold.json")
	if err != nil {
		t.Fatal(err)
	}
	var gold struct {
		Root   []byte `json:"root"`
		Attest struct {
			Document []byte `json:"document"`
			Nonce    []byte `json:"nonce"`
		} `json:"attest"`
	}
	if err := json.Unmarshal(text, &gold); err != nil {
		t.Fatal(err)
	}
	pcr0 := "6a5ba5204a52c3f7673f4eb9430bf253f0e2e4ea1251195fed72fcdc2cbbb2c2f4b1c2c0048095a8f6e67aa7b3a04164"
	expected := Expected{PCRs: []PCRs{{0: pcr0}}, InsecureRoot: gold.Root}
	verify := func(document []byte) error {
		_, err := VerifyDocument(document, expected, DocumentFields{Nonce: gold.Attest.Nonce, AsMade: true})
		return err
	}
	whole := gold.Attest.Document
	if err := verify(whole); err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		changes := [][]byte{whole[:at]}
		if at%5 == 0 {
			flipped := bytes.Clone(whole)
			flipped[at] ^= byte(1 + at%255)
			changes = append(changes, flipped)
		}
		for _, changed := range changes {
			if err := verify(changed); !strings.HasPrefix(Code(err), "attestation_") {
				t.Errorf("%d bytes, changed at %d: %v", len(changed), at, err)
			}
		}
	}
}

// serve answers each connection, until the test ends.
func serve(t *testing.T, answer func(net.Conn)) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go answer(connection)
		}
	}()
	return "tcp:" + listener.Addr().String()
}

func TestAnEnclaveThatIsNotThereIsAnErrorInTime(t *testing.T) {
	began := time.Now()
	_, err := Connect(context.Background(), "vsock:16:5000", Options{Timeout: 200 * time.Millisecond})
	if Code(err) != "connect_failed" || !strings.HasPrefix(err.Error(), "Cannot connect to vsock:16:5000: ") {
		t.Errorf("it was %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	t.Log(err)
}

func TestACallerMayCancelARequestAndTheConnectionIsNotUsedAgain(t *testing.T) {
	address := serve(t, func(connection net.Conn) { _, _ = io.Copy(io.Discard, connection) })
	client, err := Connect(context.Background(), address, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Ping(ctx); Code(err) != "no_reply" || !strings.Contains(err.Error(), "No reply from "+address) {
		t.Errorf("it was %v", err)
	}
	if _, err := client.Ping(context.Background()); Code(err) != "no_reply" {
		t.Errorf("it was %v", err)
	}
}

func TestCredentialsAreFetchedAgainOnceWhenTheyHaveExpired(t *testing.T) {
	expired := `{"status":"error","msg":"credentials_expired","details":"expired"}`
	address := serve(t, func(connection net.Conn) {
		for {
			var head [4]byte
			if _, err := io.ReadFull(connection, head[:]); err != nil {
				return
			}
			_, _ = io.CopyN(io.Discard, connection, int64(head[2])<<8|int64(head[3]))
			_, _ = connection.Write(append([]byte{0, 0, 0, byte(len(expired))}, expired...))
		}
	})
	client, err := Connect(context.Background(), address, Options{})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	source := CredentialFunc(func(context.Context) (Credentials, error) {
		asked++
		return Credentials{AccessKeyID: "a", SecretAccessKey: "SECRET"}, nil
	})
	err = client.Configure(context.Background(), SessionKey{EncryptedTSK: "AAAA"}, source)
	if Code(err) != "credentials_expired" || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	credentials := Credentials{"id", "SECRET", "TOKEN"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if said := fmt.Sprintf(verb, credentials); strings.Contains(said, "SECRET") || strings.Contains(said, "TOKEN") {
			t.Errorf("%s prints %s", verb, said)
		}
	}
}
