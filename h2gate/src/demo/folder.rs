//! The demo's temporary folder: what a person may look at and paste into commands, and the
//! certificates, swapped as Kubernetes swaps a mounted secret.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::authority::Pair;

/// Removed with all its content when dropped.
pub(super) struct Folder {
    root: TempDir,
}

impl Folder {
    pub(super) fn create(ca_pem: &str) -> io::Result<Self> {
        let folder = Self {
            root: tempfile::Builder::new().prefix("h2gate-demo-").tempdir()?,
        };
        fs::write(folder.ca(), ca_pem)?;
        fs::write(folder.proto(), proto::ROUTE_GUIDE_PROTO)?;
        fs::create_dir(folder.certificates())?;
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.certificates().join(name))?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    pub(super) fn proto(&self) -> PathBuf {
        self.path().join("route_guide.proto")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path().join("h2gate.yaml")
    }

    pub(super) fn certificates(&self) -> PathBuf {
        self.path().join("certs")
    }

    /// Puts a pair in place in one step: a new folder beside the old one, then the rename of one
    /// link over `..data`, through which `tls.crt` and `tls.key` are read. No reader finds a
    /// chain without its key.
    pub(super) fn swap(&self, number: u64, pair: &Pair) -> io::Result<()> {
        let certificates = self.certificates();
        let version = format!("..version_{number:06}");
        let folder = certificates.join(&version);
        fs::create_dir(&folder)?;
        fs::write(folder.join("tls.crt"), &pair.chain_pem)?;
        let mut key = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(folder.join("tls.key"))?;
        key.write_all(pair.key_pem.as_bytes())?;

        let data = certificates.join("..data");
        let before = fs::read_link(&data).ok();
        let staged = certificates.join("..data_tmp");
        symlink(&version, &staged)?;
        fs::rename(&staged, &data)?;
        match before {
            // The kubelet removes the old version at once, and so do we: that is what readers must bear.
            Some(before) => fs::remove_dir_all(certificates.join(before)),
            None => Ok(()),
        }
    }
}
