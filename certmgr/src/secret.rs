//! Secrets that the configuration refers to: an external account's key, a passphrase.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::aws::{self, secrets_manager};
use crate::config::{Aws, SecretReference};
use crate::error::RemoteFault;

/// Longest secret that a configuration may refer to.
const MAX_SECRET_BYTES: u64 = 65_536;

/// Limit for the file system, which may be a network's.
const FILE_TIMEOUT: Duration = Duration::from_secs(10);

/// Reason why a secret could not be read. The text names the place, never the content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {text}")]
pub(crate) struct SecretError {
    /// The file, the variable or the secret's name.
    pub(crate) place: String,
    /// The side at fault.
    pub(crate) fault: RemoteFault,
    /// The event. No remedy.
    pub(crate) text: String,
}

/// Reads a secret: text, without one line break at its end. Limited in time and size. Never cached, for it may be
/// rotated.
pub(crate) async fn read(reference: &SecretReference) -> Result<Zeroizing<String>, SecretError> {
    let place = place(reference);
    let bytes = match reference {
        SecretReference::File(path) => read_file_in_time(path).await,
        SecretReference::Environment(name) => read_variable(name),
        SecretReference::SecretsManager { secret, aws } => fetch(secret, aws).await,
    };
    bytes
        .and_then(text)
        .map_err(|(fault, text)| SecretError { place, fault, text })
}

type SecretResult<T> = Result<T, (RemoteFault, String)>;

fn place(reference: &SecretReference) -> String {
    match reference {
        SecretReference::File(path) => path.display().to_string(),
        SecretReference::Environment(name) => format!("environment variable {name}"),
        SecretReference::SecretsManager { secret, .. } => format!("secret {secret}"),
    }
}

async fn read_file_in_time(path: &Path) -> SecretResult<Zeroizing<Vec<u8>>> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_file(&path));
    match timeout(FILE_TIMEOUT, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(ended)) => Err(wrong(format!("reading it ended early: {ended}"))),
        Err(_) => Err((
            RemoteFault::Unreachable,
            format!(
                "the file system gave no answer within {} s",
                FILE_TIMEOUT.as_secs()
            ),
        )),
    }
}

fn read_file(path: &Path) -> SecretResult<Zeroizing<Vec<u8>>> {
    let failed = |error: std::io::Error| {
        let fault = match error.kind() {
            std::io::ErrorKind::NotFound => RemoteFault::NotFound,
            std::io::ErrorKind::PermissionDenied => RemoteFault::Denied,
            _ => RemoteFault::Configuration,
        };
        (fault, format!("cannot be read: {error}"))
    };
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(wrong("it is not a regular file".to_owned()));
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    // One buffer that never grows, for one that did would leave copies of the secret behind; and as large as a
    // secret may be, for not every file system reports the size of a file.
    let room = MAX_SECRET_BYTES + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(room).unwrap_or_default()));
    file.take(room).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        let text = format!("it has more than the {MAX_SECRET_BYTES} bytes that are read");
        return Err((RemoteFault::TooLarge, text));
    }
    Ok(bytes)
}

fn read_variable(name: &str) -> SecretResult<Zeroizing<Vec<u8>>> {
    std::env::var_os(name)
        .map(|value| Zeroizing::new(value.into_encoded_bytes()))
        .ok_or_else(|| (RemoteFault::NotFound, "it is not set".to_owned()))
}

async fn fetch(secret: &str, aws: &Aws) -> SecretResult<Zeroizing<Vec<u8>>> {
    let told = |failure: aws::Failure| (failure.fault, failure.text);
    let config = aws::config(aws).await.map_err(told)?;
    let client = secrets_manager::client(&config);
    let fetched = secrets_manager::fetch(&client, secret).await;
    fetched.inspect_err(|_| aws::refused(aws)).map_err(told)
}

/// The secret in the form of text, without one line break at its end. An empty one is an error.
fn text(bytes: Zeroizing<Vec<u8>>) -> SecretResult<Zeroizing<String>> {
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not text in UTF-8".to_owned()))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn wrong(text: String) -> (RemoteFault, String) {
    (RemoteFault::Configuration, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    async fn read_content(content: &[u8]) -> Result<String, RemoteFault> {
        let file = file(content);
        let read = read(&SecretReference::File(file.path().to_owned())).await;
        read.map(|secret| secret.to_string()).map_err(|error| error.fault)
    }

    #[tokio::test]
    async fn one_line_break_at_the_end_of_a_file_does_not_count() {
        for (content, secret) in [
            ("x", "x"),
            ("x\n", "x"),
            ("x\r\n", "x"),
            ("x\n\n", "x\n"),
            (" x ", " x "),
        ] {
            assert_eq!(
                read_content(content.as_bytes()).await,
                Ok(secret.to_owned()),
                "{content:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_secret_is_refused() {
        assert_eq!(read_content(b"").await, Err(RemoteFault::Configuration));
        assert_eq!(read_content(b"\n").await, Err(RemoteFault::Configuration));
        assert_eq!(read_content(b"\xff").await, Err(RemoteFault::Configuration));
        assert_eq!(read_content(&[b'x'; 65_537]).await, Err(RemoteFault::TooLarge));
        let directory = SecretReference::File(std::env::temp_dir());
        assert_eq!(
            read(&directory).await.unwrap_err().fault,
            RemoteFault::Configuration
        );
        let pipe = SecretReference::File("/dev/zero".into());
        assert_eq!(read(&pipe).await.unwrap_err().fault, RemoteFault::Configuration);
    }

    #[tokio::test]
    async fn an_error_names_the_place_and_never_the_content() {
        let missing = read(&SecretReference::File("/nonexistent/hmac".into())).await;
        let missing = missing.unwrap_err();
        assert_eq!(missing.fault, RemoteFault::NotFound);
        assert!(
            missing
                .to_string()
                .starts_with("/nonexistent/hmac: cannot be read: "),
            "{missing}"
        );
        let unset = read(&SecretReference::Environment("H2GATE_NO_SUCH".to_owned())).await;
        assert_eq!(
            unset.unwrap_err().to_string(),
            "environment variable H2GATE_NO_SUCH: it is not set"
        );
        let file = file(b"SECRET\xff");
        let broken = read(&SecretReference::File(file.path().to_owned()))
            .await
            .unwrap_err();
        assert!(!format!("{broken:?}{broken}").contains("SECRET"));
    }

    /// The file systems of some secret stores report no size either.
    #[tokio::test]
    async fn a_file_that_tells_no_size_is_read_whole() {
        let path = "/proc/sys/kernel/ostype";
        assert_eq!(std::fs::metadata(path).unwrap().len(), 0);
        let read = read(&SecretReference::File(path.into())).await.unwrap();
        assert_eq!(*read, "Linux");
    }

    #[tokio::test]
    async fn a_variable_of_the_environment_is_read() {
        let path = read(&SecretReference::Environment("PATH".to_owned()))
            .await
            .unwrap();
        assert_eq!(*path, std::env::var("PATH").unwrap());
    }
}
