//! Secrets that the configuration refers to: an external account's key, a passphrase.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::aws::RemoteError;
use crate::aws::secrets_manager::fetch;
use crate::config::SecretReference;
use crate::error::RemoteFault;

/// Longest secret that a configuration may refer to.
const MAX_SECRET_BYTES: usize = 65_536;

/// Limit for the file system, which may be a network's.
const FILE_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a secret: text, without one line break at its end. Limited in time and size. Never cached, for it may be
/// rotated. The text of an error names the place, never the content.
pub(crate) async fn read(reference: &SecretReference) -> Result<Zeroizing<String>, RemoteError> {
    let bytes = match reference {
        SecretReference::File(path) => read_file_in_time(path).await,
        SecretReference::Environment(name) => read_variable(name),
        SecretReference::SecretsManager { secret, aws } => fetch(aws, secret).await,
    };
    bytes
        .and_then(text)
        .map_err(|error| RemoteError::new(error.fault, format!("{}: {error}", place(reference))))
}

fn place(reference: &SecretReference) -> String {
    match reference {
        SecretReference::File(path) => path.display().to_string(),
        SecretReference::Environment(name) => format!("environment variable {name}"),
        SecretReference::SecretsManager { secret, .. } => format!("secret {secret}"),
    }
}

async fn read_file_in_time(path: &Path) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_secret_file(&path));
    match timeout(FILE_TIMEOUT, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(ended)) => Err(unusable(format!("reading it ended early: {ended}"))),
        Err(_) => {
            let text = format!(
                "the file system gave no answer within {} s",
                FILE_TIMEOUT.as_secs()
            );
            Err(RemoteError::new(RemoteFault::Unreachable, text))
        }
    }
}

fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
    match read_file(path, MAX_SECRET_BYTES) {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let text = format!("it has more than the {MAX_SECRET_BYTES} bytes that are read");
            Err(RemoteError::new(RemoteFault::TooLarge, text))
        }
        Err(error) => {
            let fault = match error.kind() {
                io::ErrorKind::NotFound => RemoteFault::NotFound,
                io::ErrorKind::PermissionDenied => RemoteFault::Denied,
                _ => RemoteFault::Configuration,
            };
            Err(RemoteError::new(fault, format!("cannot be read: {error}")))
        }
    }
}

/// Reads a regular file. The inner error is the size of one that is longer.
pub(crate) fn read_file(path: &Path, max_bytes: usize) -> io::Result<Result<Zeroizing<Vec<u8>>, usize>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        // Opening a pipe would wait for its writer.
        let (kind, text) = if metadata.is_dir() {
            (io::ErrorKind::IsADirectory, "it is a directory")
        } else {
            (io::ErrorKind::InvalidInput, "it is not a regular file")
        };
        return Err(io::Error::new(kind, text));
    }
    let file = File::open(path)?;
    // The size of what is open: another file may have been moved to the path.
    read_open_file(&file, file.metadata()?.len(), max_bytes)
}

fn read_open_file(
    mut file: impl io::Read,
    size: u64,
    max_bytes: usize,
) -> io::Result<Result<Zeroizing<Vec<u8>>, usize>> {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > max_bytes {
        return Ok(Err(size));
    }
    // File systems that make content while it is read (procfs, some of FUSE) report the size 0.
    let expected = match size {
        0 => max_bytes,
        size => size,
    };
    // Room for two bytes more than expected: a buffer that had to grow would leave a copy of the key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected.saturating_add(2)));
    let most = u64::try_from(expected).unwrap_or(u64::MAX).saturating_add(1);
    file.by_ref().take(most).read_to_end(&mut bytes)?;
    if bytes.len() > max_bytes {
        return Ok(Err(bytes.len()));
    }
    if bytes.len() > expected {
        return Err(io::Error::other("it has grown while it was read"));
    }
    Ok(Ok(bytes))
}

#[expect(clippy::disallowed_methods, reason = "the configuration names the variable")]
fn read_variable(name: &str) -> Result<Zeroizing<Vec<u8>>, RemoteError> {
    std::env::var_os(name)
        .map(|value| Zeroizing::new(value.into_encoded_bytes()))
        .ok_or_else(|| RemoteError::new(RemoteFault::NotFound, "it is not set"))
}

/// The secret in the form of text, without one line break at its end. An empty one is an error.
fn text(bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, RemoteError> {
    let text = std::str::from_utf8(&bytes).map_err(|_| unusable("it is not text in UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(unusable("it is empty"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn unusable(text: impl Into<String>) -> RemoteError {
    RemoteError::new(RemoteFault::Configuration, text)
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

    #[test]
    fn a_file_that_grows_while_it_is_read_is_not_cut() {
        let read = |content: &[u8], size| read_open_file(content, size, 8);
        assert_eq!(read(b"secret", 6).unwrap().unwrap().as_slice(), b"secret");
        assert_eq!(read(b"secret", 0).unwrap().unwrap().as_slice(), b"secret");
        assert!(read(b"secret", 5).is_err());
        assert_eq!(read(b"123456789", 8).unwrap().unwrap_err(), 9);
        assert_eq!(read(b"", 9).unwrap().unwrap_err(), 9);
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
