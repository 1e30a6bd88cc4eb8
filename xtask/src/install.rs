//! Makes sure that the programs which the tests need are there: installs them on Debian as root, else says what to
//! install. Nothing is installed that is there already.

use std::path::Path;

use crate::steps::{Done, Failure, call, program, read, root};

/// A program and the Debian package that has it.
struct Need {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const COMPILER: Need = Need {
    program: "g++",
    package: "g++",
    why: "compiles libFuzzer",
};
const TURN: [Need; 2] = [
    Need {
        program: "turnserver",
        package: "coturn",
        why: "checks our TURN credentials",
    },
    Need {
        program: "turnutils_uclient",
        package: "coturn",
        why: "asks our TURN server",
    },
];
const NODE: Need = Need {
    program: "node",
    package: "nodejs",
    why: "runs the web and browser tests (20 or newer)",
};
const NPM: Need = Need {
    program: "npm",
    package: "npm",
    why: "installs the test tools",
};
const BROWSERS: [Need; 6] = [
    Need {
        program: "chromium",
        package: "chromium",
        why: "browser tests",
    },
    Need {
        program: "firefox-esr",
        package: "firefox-esr",
        why: "browser tests",
    },
    Need {
        program: "ffmpeg",
        package: "ffmpeg",
        why: "makes the fake cameras",
    },
    Need {
        program: "ip",
        package: "iproute2",
        why: "makes the networks that browsers are put behind",
    },
    Need {
        program: "nft",
        package: "nftables",
        why: "is the firewall and NAT of these networks",
    },
    Need {
        program: "conntrack",
        package: "conntrack",
        why: "makes that NAT forget",
    },
];
/// Text in headless browsers needs a font; it is a package without a program.
const FONT_FILE: &str = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf";
const FONT_PACKAGE: &str = "fonts-dejavu-core";
/// `node --test --test-concurrency` and the syntax of the tests.
const NODE_MAJOR: u32 = 20;

/// What a run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tools {
    /// A C++ compiler for the fuzz targets.
    Fuzz,
    /// Another TURN client and server.
    Turn,
    /// Node and the npm packages.
    Web,
    /// The browsers with all that they need.
    Browsers,
}

/// Installs what is missing of `tools`, or fails with what to install.
pub(crate) fn ensure(tools: &[Tools]) -> Done {
    let mut needs: Vec<&Need> = Vec::new();
    if tools.contains(&Tools::Fuzz) {
        needs.push(&COMPILER);
    }
    if tools.contains(&Tools::Turn) {
        needs.extend(&TURN);
    }
    if tools.iter().any(|t| matches!(t, Tools::Web | Tools::Browsers)) {
        needs.extend([&NODE, &NPM]);
    }
    if tools.contains(&Tools::Browsers) {
        needs.extend(&BROWSERS);
    }
    let mut missing: Vec<(&str, &str)> = needs
        .iter()
        .filter(|need| !on_path(need.program))
        .map(|need| (need.package, need.why))
        .collect();
    if tools.contains(&Tools::Browsers) && !Path::new(FONT_FILE).exists() && cfg!(target_os = "linux") {
        missing.push((FONT_PACKAGE, "text in screenshots"));
    }
    if !missing.is_empty() {
        apt(&missing)?;
    }
    if tools.iter().any(|t| matches!(t, Tools::Web | Tools::Browsers)) {
        node_version()?;
        npm()?;
    }
    Ok(())
}

fn apt(missing: &[(&str, &str)]) -> Done {
    let packages: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    if !Path::new("/etc/debian_version").exists() || !is_root() {
        let list: Vec<String> = missing
            .iter()
            .map(|(package, why)| format!("{package} ({why})"))
            .collect();
        return Err(Failure::new(format!(
            "missing: {}. Install it, on Debian as root: apt-get install --no-install-recommends {}",
            list.join(", "),
            packages.join(" ")
        )));
    }
    println!("installing {}", packages.join(" "));
    let root = root();
    call(program("apt-get", &["-q", "update"], &root).env("DEBIAN_FRONTEND", "noninteractive"))?;
    let install = [
        &["-q", "install", "-y", "--no-install-recommends"],
        packages.as_slice(),
    ]
    .concat();
    call(program("apt-get", &install, &root).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Installs the locked npm packages unless exactly they are installed.
fn npm() -> Done {
    let folder = root().join("tests/e2e");
    let lock = std::fs::read(folder.join("package-lock.json"))
        .map_err(|error| Failure::new(format!("tests/e2e/package-lock.json: {error}")))?;
    let stamp = folder.join("node_modules/.installed-lock.json");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    call(&mut program(
        "npm",
        &["ci", "--no-audit", "--no-fund", "--loglevel=error"],
        &folder,
    ))?;
    std::fs::write(&stamp, lock).map_err(|error| Failure::new(format!("{}: {error}", stamp.display())))
}

fn node_version() -> Done {
    let version = read(&mut program("node", &["--version"], &root()))?;
    let major = version
        .trim()
        .trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|n| n.parse::<u32>().ok());
    match major {
        Some(major) if major >= NODE_MAJOR => Ok(()),
        _ => Err(Failure::new(format!(
            "node {NODE_MAJOR} or newer is needed, this is {}",
            version.trim()
        ))),
    }
}

fn on_path(name: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

fn is_root() -> bool {
    read(&mut program("id", &["-u"], &root())).is_ok_and(|id| id.trim() == "0")
}
