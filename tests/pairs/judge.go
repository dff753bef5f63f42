// What Go says to chains and pairs: `go run judge.go`, questions on standard input, one a line and tab-separated.
//
//	serve ID PORT HOST ROOTS            a handshake with what is served there
//	read  ID CHAIN KEY PASSPHRASE KIND  a pair in files; Go's own library opens no PKCS#12
//
// Each answer is `ID yes|no|none WORDS`; the first line is the version.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"
)

func serve(port, host, roots string) error {
	text, err := os.ReadFile(roots)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	config := &tls.Config{RootCAs: pool, ServerName: host, NextProtos: []string{"h2"}}
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", "127.0.0.1:"+port, config)
	if err == nil {
		connection.Close()
	}
	return err
}

func main() {
	fmt.Println("Go " + strings.TrimPrefix(runtime.Version(), "go"))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := strings.Split(lines.Text(), "\t")
		var err error
		switch {
		case words[0] == "serve":
			err = serve(words[2], words[3], words[4])
		case words[5] == "pkcs12":
			fmt.Printf("%s\tnone\t\n", words[1])
			continue
		default:
			_, err = tls.LoadX509KeyPair(words[2], words[3])
		}
		if err == nil {
			fmt.Printf("%s\tyes\t\n", words[1])
		} else {
			fmt.Printf("%s\tno\t%s\n", words[1], strings.ReplaceAll(err.Error(), "\n", " "))
		}
	}
}
