//! The Jenkins controller: is it there, and does it take our credential?

use super::Finding;
use crate::config::Jenkins;
use crate::jenkins::Controller;

/// Nothing where no controller is configured.
pub fn controller(config: &Jenkins) -> Vec<Finding> {
    let Some(url) = &config.url else {
        let needed = (!config.projects.is_empty()).then(|| {
            Finding::fail("jenkins", "projects are configured and no controller", "say url: below jenkins:")
        });
        return needed.into_iter().collect();
    };
    let controller = match Controller::new(config) {
        Ok(controller) => controller,
        Err(error) => return vec![Finding::fail("jenkins", error.0, "correct it there, then run failcake check again")],
    };
    let mut findings = vec![match controller.identity() {
        Ok(identity) => {
            let what = identity.version.map_or_else(|| "a Jenkins".to_owned(), |version| format!("Jenkins {version}"));
            Finding::ok("jenkins", format!("{url} is {what}, we are {}", identity.name))
        }
        // Each error says what to do.
        Err(error) => Finding::fail("jenkins", error.to_string(), "then run failcake check again"),
    }];
    let secret = config.token.is_some() || config.projects.values().any(|project| project.token.is_some());
    if secret && url.starts_with("http:") {
        let remedy = "use https://, or keep to a network that nobody else hears";
        findings.push(Finding::warn("jenkins", format!("tokens go to {url} in the clear"), remedy));
    }
    findings
}
