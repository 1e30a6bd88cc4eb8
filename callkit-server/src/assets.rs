//! [`Assets`]: the files of the pages, embedded in the program or read from a folder.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use include_dir::{Dir, include_dir};
use ring::digest;

static WEB: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/web");

/// What browsers get. The folder also holds tests and settings of its development, which are nobody's
/// business.
const SERVED: [&str; 12] = [
    "css", "html", "ico", "jpg", "js", "json", "mp3", "ogg", "png", "svg", "wav", "woff2",
];
/// Folders and files at the top of the web folder that are not part of the pages.
const NOT_SERVED: [&str; 6] = [
    "fixtures",
    "node_modules",
    "package.json",
    "package-lock.json",
    "test",
    "tsconfig.json",
];

/// A file with what a browser has to know of it.
#[derive(Clone)]
pub struct Asset {
    /// Contents.
    pub body: Bytes,
    /// Value of `Content-Type`.
    pub content_type: String,
    /// Value of `ETag`: changes with the contents only.
    pub etag: String,
}

impl fmt::Debug for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asset")
            .field("etag", &self.etag)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Where the files of the pages come from.
#[derive(Debug, Clone)]
pub struct Assets(Source);

#[derive(Debug, Clone)]
enum Source {
    Embedded,
    Folder(Arc<Path>),
}

static EMBEDDED: LazyLock<BTreeMap<String, Asset>> = LazyLock::new(|| {
    let mut files = BTreeMap::new();
    collect(&WEB, &mut files);
    files
});

fn collect(folder: &Dir<'static>, files: &mut BTreeMap<String, Asset>) {
    for file in folder.files() {
        if let Some(path) = file.path().to_str().filter(|path| is_served(path)) {
            files.insert(path.to_owned(), asset(path, Bytes::from_static(file.contents())));
        }
    }
    folder.dirs().for_each(|inner| collect(inner, files));
}

impl Assets {
    /// The files that the program was built with.
    #[must_use]
    pub fn embedded() -> Self {
        Self(Source::Embedded)
    }

    /// The files of `folder`, read anew each time: for work on the pages.
    #[must_use]
    pub fn folder(folder: PathBuf) -> Self {
        Self(Source::Folder(folder.into()))
    }

    /// The file at `path`, relative to the web folder.
    pub async fn find(&self, path: &str) -> Option<Asset> {
        if !is_served(path) {
            return None;
        }
        match &self.0 {
            Source::Embedded => EMBEDDED.get(path).cloned(),
            Source::Folder(folder) => {
                let file = folder.join(path);
                let body = tokio::task::spawn_blocking(move || std::fs::read(file))
                    .await
                    .ok()?
                    .ok()?;
                Some(asset(path, body.into()))
            }
        }
    }
}

/// Whether `path` is a plain relative path to a file that browsers may have.
fn is_served(path: &str) -> bool {
    let plain = |segment: &str| {
        !segment.is_empty() && !segment.starts_with('.') && !segment.contains(['\\', ':', '\0'])
    };
    let mut segments = path.split('/');
    let top = segments.next().unwrap_or_default();
    plain(top)
        && segments.all(plain)
        && !NOT_SERVED.contains(&top)
        && path
            .rsplit_once('.')
            .is_some_and(|(_, kind)| SERVED.contains(&kind))
}

fn asset(path: &str, body: Bytes) -> Asset {
    let digest = digest::digest(&digest::SHA256, &body);
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest.as_ref()[..15]));
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let text = kind.type_() == mime_guess::mime::TEXT || kind.subtype() == mime_guess::mime::JAVASCRIPT;
    let content_type = if text {
        format!("{}; charset=utf-8", kind.essence_str())
    } else {
        kind.essence_str().to_owned()
    };
    Asset {
        body,
        content_type,
        etag,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_pages_is_served() {
        for path in [
            "",
            "/",
            "../Cargo.toml",
            "call/../../Cargo.toml",
            "/etc/passwd",
            "call//index.html",
            "call/.hidden.js",
            "C:\\x.js",
            "call\\..\\x.js",
            "test/client.test.js",
            "fixtures/server.json",
            "package.json",
            "tsconfig.json",
            "call/index.html\0.js/..",
            "call",
        ] {
            assert!(!is_served(path), "{path:?}");
        }
        assert!(is_served("call/index.html") && is_served("client/connection.js"));
    }

    #[test]
    fn modules_have_the_type_that_browsers_insist_on() {
        assert_eq!(
            asset("a/b.js", Bytes::new()).content_type,
            "text/javascript; charset=utf-8"
        );
        assert_eq!(
            asset("a.html", Bytes::new()).content_type,
            "text/html; charset=utf-8"
        );
        assert_eq!(asset("a.svg", Bytes::new()).content_type, "image/svg+xml");
    }

    #[test]
    fn the_tag_changes_with_the_contents() {
        assert_ne!(
            asset("a.js", Bytes::from_static(b"1")).etag,
            asset("a.js", Bytes::from_static(b"2")).etag
        );
        assert_eq!(
            asset("a.js", Bytes::from_static(b"1")).etag,
            asset("b.js", Bytes::from_static(b"1")).etag
        );
    }
}
