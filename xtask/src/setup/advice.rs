//! What a user can do about what is missing: exact commands where there are some.

use super::needs::{self, Missing, Remedy};
use super::packages::Manager;
use crate::privilege::Privilege;
use crate::process;

pub fn advice(missing: &[Missing]) -> String {
    let commands: Vec<_> = [packages_command(missing), components_command(missing)]
        .into_iter()
        .flatten()
        .collect();
    let mut remarks = Vec::new();
    if !commands.is_empty() {
        remarks.push(format!("run `{}`", commands.join(" && ")));
    }
    let owner = missing
        .iter()
        .filter(|one| one.need.remedy() == Remedy::Owner);
    remarks.extend(owner.map(|one| one.reason.clone()));
    if remarks.is_empty() {
        remarks.push("install it, there is no package manager here that is known".to_owned());
    }
    remarks.join("; ")
}

fn packages_command(missing: &[Missing]) -> Option<String> {
    let manager = Manager::find()?;
    let packages = manager.packages(missing.iter().map(|one| one.need));
    if packages.is_empty() {
        return None;
    }
    let command = manager.command_line(&packages);
    if Privilege::find() == Privilege::Root {
        Some(command.join(" && "))
    } else if process::find("sudo").is_some() {
        Some(format!("sudo {}", command.join(" && sudo ")))
    } else {
        Some(format!("su -c '{}'", command.join(" && ")))
    }
}

fn components_command(missing: &[Missing]) -> Option<String> {
    let components = needs::components(missing.iter().map(|one| one.need));
    (!components.is_empty()).then(|| format!("rustup component add {}", components.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::super::needs::Need;
    use super::*;

    fn missing(need: Need) -> Missing {
        Missing {
            need,
            reason: "because".to_owned(),
        }
    }

    #[test]
    fn commands_come_before_remarks() {
        let advice = advice(&[missing(Need::KernelTypes), missing(Need::Clippy)]);
        assert_eq!(advice, "run `rustup component add clippy`; because");
    }
}
