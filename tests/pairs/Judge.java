import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Collections;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * What Java says to chains and pairs: `java Judge.java`, questions on standard input as judge.go has them.
 *
 * Of a pair in PEM it is asked for the chain alone: this Java has no reader of keys in PEM.
 */
final class Judge {
    private static void serve(int port, String host, String roots) throws Exception {
        var store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (InputStream text = new FileInputStream(roots)) {
            for (var root : CertificateFactory.getInstance("X.509").generateCertificates(text)) {
                store.setCertificateEntry("root" + store.size(), root);
            }
        }
        var trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(store);
        var context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        try (var plain = new Socket("127.0.0.1", port);
                var socket = (SSLSocket) context.getSocketFactory().createSocket(plain, host, port, true)) {
            plain.setSoTimeout(10_000);
            var parameters = socket.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            parameters.setApplicationProtocols(new String[] {"h2"});
            socket.setSSLParameters(parameters);
            socket.startHandshake();
        }
    }

    private static void readPem(String chain) throws Exception {
        try (InputStream text = new FileInputStream(chain)) {
            if (CertificateFactory.getInstance("X.509").generateCertificates(text).isEmpty()) {
                throw new Exception("no certificate");
            }
        }
    }

    private static void readPkcs12(String file, char[] passphrase) throws Exception {
        var store = KeyStore.getInstance("PKCS12");
        try (InputStream container = Files.newInputStream(Path.of(file))) {
            store.load(container, passphrase);
        }
        for (String alias : Collections.list(store.aliases())) {
            if (store.getKey(alias, passphrase) != null && store.getCertificateChain(alias) != null) {
                return;
            }
        }
        throw new Exception("no key with a chain");
    }

    public static void main(String[] arguments) throws Exception {
        System.out.println("Java " + Runtime.version().feature() + "." + Runtime.version().interim() + "." + Runtime.version().update());
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split("\t", -1);
            try {
                if (words[0].equals("serve")) {
                    serve(Integer.parseInt(words[2]), words[3], words[4]);
                } else if (words[5].equals("pkcs12")) {
                    readPkcs12(words[2], words[4].toCharArray());
                } else {
                    readPem(words[2]);
                }
                System.out.println(words[1] + "\tyes\t");
            } catch (Exception | Error error) {
                System.out.println(words[1] + "\tno\t" + String.valueOf(error).replaceAll("\\s+", " "));
            }
        }
    }
}
