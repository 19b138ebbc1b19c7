//! A container image as one archive, the same bytes for the same files whenever and wherever it is packed.
//!
//! The archive is Docker's (`manifest.json`, a configuration, one layer): `docker load`, `ctr images import` and `podman load`
//! all take it. The layer holds the given files and the directories above them, an `/etc/passwd` that names the user,
//! and nothing else. Absent on purpose: compression (nodes unpack it at once) and more than one layer.

use std::fmt::Write as _;
use std::io;

use sha2::{Digest, Sha256};

use crate::elf::Machine;

/// The user that images run as: `nonroot` of the distroless images, so that policies which name it keep working.
const USER: u64 = 65532;

/// What goes into an image.
#[derive(Debug, Clone)]
pub(crate) struct Contents {
    /// `name:tag` that the image is loaded as.
    pub(crate) tag: String,
    /// What its binaries run on.
    pub(crate) machine: Machine,
    /// Command line prefix; the container's arguments follow it.
    pub(crate) entrypoint: Vec<String>,
    /// The files, in any order.
    pub(crate) files: Vec<File>,
}

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Absolute path in the image.
    pub(crate) path: String,
    /// Its content.
    pub(crate) content: Vec<u8>,
    /// Whether it may be run.
    pub(crate) executable: bool,
}

/// An image, ready to be written.
#[derive(Debug)]
pub(crate) struct Archive {
    /// The whole archive.
    pub(crate) bytes: Vec<u8>,
    /// The image's id: `sha256:` and the digest of its configuration.
    pub(crate) id: String,
}

/// Packs `contents`. Fails only on a path that does not fit into a tar header (100 bytes).
pub(crate) fn pack(contents: &Contents) -> io::Result<Archive> {
    let layer = layer(&contents.files)?;
    let layer_digest = hex(&layer);
    let configuration = serde_json::json!({
        "architecture": contents.machine.to_string(),
        "os": "linux",
        "created": EPOCH,
        "config": {
            "Entrypoint": contents.entrypoint,
            "Env": ["PATH=/"],
            "User": format!("{USER}:{USER}"),
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        "history": [{"created": EPOCH, "created_by": "trimtab-pack"}],
    })
    .to_string();
    let id = hex(configuration.as_bytes());
    let manifest = serde_json::json!([{
        "Config": format!("{id}.json"),
        "RepoTags": [contents.tag],
        "Layers": [format!("{layer_digest}.tar")],
    }])
    .to_string();
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, &format!("{id}.json"), tar::EntryType::Regular, 0o644, configuration.as_bytes())?;
    append(&mut archive, &format!("{layer_digest}.tar"), tar::EntryType::Regular, 0o644, &layer)?;
    append(&mut archive, "manifest.json", tar::EntryType::Regular, 0o644, manifest.as_bytes())?;
    Ok(Archive { bytes: archive.into_inner()?, id: format!("sha256:{id}") })
}

/// The time of everything in an image.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The one layer: directories before what is in them, paths in order.
fn layer(files: &[File]) -> io::Result<Vec<u8>> {
    let mut files = files.to_vec();
    files.push(File {
        path: "/etc/passwd".to_owned(),
        content: format!("root:x:0:0:root:/:/none\nnonroot:x:{USER}:{USER}:nonroot:/:/none\n").into_bytes(),
        executable: false,
    });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let mut layer = tar::Builder::new(Vec::new());
    let mut made = std::collections::BTreeSet::new();
    for file in &files {
        let path = file.path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            let directory = path.get(..=at).unwrap_or_default();
            if made.insert(directory.to_owned()) {
                append(&mut layer, directory, tar::EntryType::Directory, 0o755, &[])?;
            }
        }
        let mode = if file.executable { 0o755 } else { 0o644 };
        append(&mut layer, path, tar::EntryType::Regular, mode, &file.content)?;
    }
    layer.into_inner()
}

/// One entry that depends on nothing but its arguments: no time, no owner but root.
fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    content: &[u8],
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_path(path)?;
    header.set_cksum();
    archive.append(&header, content)
}

fn hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::{Archive, Contents, File, hex, pack};
    use crate::elf::Machine;

    fn contents() -> Contents {
        let file = |path: &str, content: &[u8], executable| File {
            path: path.to_owned(),
            content: content.to_vec(),
            executable,
        };
        Contents {
            tag: "trimtab.dev/example:dev".to_owned(),
            machine: Machine::Amd64,
            entrypoint: vec!["/trimtab".to_owned(), "run".to_owned()],
            files: vec![file("/trimtab", b"binary", true), file("/etc/ssl/certs/ca.crt", b"certificate", false)],
        }
    }

    /// What the tests look at of an entry.
    struct Entry {
        path: String,
        content: Vec<u8>,
        mode: u32,
        directory: bool,
        /// User, group, time.
        origin: (u64, u64, u64),
    }

    /// The entries of an archive, in its order.
    fn entries(tar: &[u8]) -> Vec<Entry> {
        let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let header = entry.header();
            Entry {
                path: entry.path().unwrap().to_string_lossy().into_owned(),
                content,
                mode: header.mode().unwrap(),
                directory: header.entry_type().is_dir(),
                origin: (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()),
            }
        };
        tar::Archive::new(tar).entries().unwrap().map(read).collect()
    }

    fn by_path(archive: &Archive) -> BTreeMap<String, Vec<u8>> {
        entries(&archive.bytes).into_iter().map(|entry| (entry.path, entry.content)).collect()
    }

    #[test]
    fn packing_twice_gives_the_same_bytes_whatever_the_order_of_files() {
        let first = pack(&contents()).unwrap();
        let mut turned = contents();
        turned.files.reverse();
        let second = pack(&turned).unwrap();
        assert_eq!(first.bytes, second.bytes);
        assert_eq!(first.id, second.id);
    }

    #[test]
    fn another_content_gives_another_id() {
        let mut other = contents();
        other.files[0].content = b"another binary".to_vec();
        assert_ne!(pack(&contents()).unwrap().id, pack(&other).unwrap().id);
    }

    #[test]
    fn manifest_configuration_and_layer_name_each_other_by_digest() {
        let archive = pack(&contents()).unwrap();
        let files = by_path(&archive);
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "trimtab.dev/example:dev");
        let configuration = &files[manifest[0]["Config"].as_str().unwrap()];
        assert_eq!(format!("sha256:{}", hex(configuration)), archive.id);
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        let configuration: serde_json::Value = serde_json::from_slice(configuration).unwrap();
        assert_eq!(configuration["rootfs"]["diff_ids"][0], format!("sha256:{}", hex(layer)));
        assert_eq!(configuration["architecture"], "amd64");
    }

    #[test]
    fn the_image_runs_its_entrypoint_as_a_user_who_is_not_root() {
        let files = by_path(&pack(&contents()).unwrap());
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let configuration: serde_json::Value =
            serde_json::from_slice(&files[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        assert_eq!(configuration["config"]["User"], "65532:65532");
        assert_eq!(configuration["config"]["Entrypoint"], serde_json::json!(["/trimtab", "run"]));
    }

    #[test]
    fn the_layer_holds_directories_first_and_everything_belongs_to_root_at_the_epoch() {
        let files = by_path(&pack(&contents()).unwrap());
        let layer = files
            .iter()
            .find(|(path, _)| std::path::Path::new(path).extension().is_some_and(|e| e == "tar"))
            .unwrap()
            .1;
        let entries = entries(layer);
        let paths: Vec<_> = entries.iter().map(|entry| (entry.path.as_str(), entry.mode, entry.directory)).collect();
        assert_eq!(
            paths,
            [
                ("etc/", 0o755, true),
                ("etc/passwd", 0o644, false),
                ("etc/ssl/", 0o755, true),
                ("etc/ssl/certs/", 0o755, true),
                ("etc/ssl/certs/ca.crt", 0o644, false),
                ("trimtab", 0o755, false),
            ]
        );
        assert!(entries.iter().all(|entry| entry.origin == (0, 0, 0)));
        assert!(String::from_utf8_lossy(&entries[1].content).contains("nonroot:x:65532:65532:"));
    }
}
