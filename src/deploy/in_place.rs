//! Sites in one folder: `git checkout -f` over what is served. The exception to "the old release or the new one": whoever
//! looks meanwhile, or after a kill, sees files of both.

use super::stage::commit_of;
use super::{Done, Error, Here, Request, Said, Scene, Tell, text};
use crate::config::{PostFailure, Repo};
use crate::process::Stop;
use crate::release::{Begun, Held, Record, Revision, Step};
use crate::tree;

impl Here<'_> {
    /// `pre-deploy` of the tree as it is (or of a control directory), the checkout, `post-deploy` of the new one.
    pub(super) fn deploy_in_place(
        &self,
        held: &Held,
        repo: &Repo,
        revision: &Revision,
        request: &Request,
        tell: Tell<'_>,
    ) -> Result<Done, Error> {
        let Begun { mut record, .. } = held.begin(revision, &request.reference, &request.who, &request.id)?;
        let scene = Scene { record: Some(&record), previous: record.previous.as_ref(), rollback: false, request };
        let prepared = self
            .find_script(held, &record.release, Step::PreDeploy)
            .and_then(|()| self.run_script(held, &scene, Step::PreDeploy, self.stop, tell).map_err(text))
            .and_then(|()| held.check_hold().map_err(text));
        if let Err(why) = prepared {
            return Err(self.failed(held, &mut record, Step::PreDeploy, why, tell));
        }
        if self.stop.is_some_and(Stop::is_set) {
            return Err(self.failed(held, &mut record, Step::Stage, "stopped by a signal".to_owned(), tell));
        }
        let mut step = Step::Stage;
        let checked_out = self.check_out_new(held, repo, &mut record, tell).and_then(|()| {
            step = Step::PostDeploy;
            self.find_script(held, &record.release, Step::PostDeploy)?;
            let scene = Scene { record: Some(&record), previous: record.previous.as_ref(), rollback: false, request };
            self.run_script(held, &scene, Step::PostDeploy, self.stop, tell).map_err(text)
        });
        if let Err(why) = checked_out {
            return Err(self.go_back(held, repo, record, (step, why), request, tell));
        }
        self.record_live(held, &mut record, None)?;
        tell(Said::Step("live"));
        Ok(self.done(&record, record.previous.clone(), self.prune(held, tell)))
    }

    /// The files of a release that was live before.
    pub(super) fn check_out(&self, held: &Held, repo: &Repo, target: &Record, tell: Tell<'_>) -> Result<(), String> {
        self.check_out_files(held, repo, &mut target.clone(), tell)?;
        held.sync().map_err(text)
    }

    fn check_out_new(&self, held: &Held, repo: &Repo, record: &mut Record, tell: Tell<'_>) -> Result<(), String> {
        self.check_out_files(held, repo, record, tell)?;
        held.make_durable(record).map_err(text)
    }

    fn check_out_files(&self, held: &Held, repo: &Repo, record: &mut Record, tell: Tell<'_>) -> Result<(), String> {
        let commit = commit_of(record)?;
        let (folder, index) = (held.release(&record.release), held.index(&record.release));
        let listing = tree::overlay(&self.clone_at(repo), &commit, &folder, &index).map_err(text)?;
        let part = held.part_index(&record.release);
        (record.files, record.bytes) = self.complete(repo, &commit, &folder, &part, &listing)?;
        tell(Said::Step(&format!("checked out {} files in place", record.files)));
        Ok(())
    }

    /// What failed in the checkout or after it: the release before is checked out again, unless the site keeps the new one.
    fn go_back(
        &self,
        held: &Held,
        repo: &Repo,
        mut record: Record,
        (step, why): (Step, String),
        request: &Request,
        tell: Tell<'_>,
    ) -> Error {
        if step == Step::PostDeploy && self.site.on_post_failure == PostFailure::Keep {
            let log = held.log(&record.release);
            let recorded = self.record_live(held, &mut record, Some(&why));
            return recorded.err().unwrap_or(Error::Kept { release: record.release, why, log });
        }
        let error = self.failed(held, &mut record, step, why, tell);
        let Some(previous) = record.previous.as_ref().and_then(|name| held.record(name)) else { return error };
        // Not to be stopped: it mends what was stopped.
        if let Err(again) = (Here { stop: None, ..*self }).check_out(held, repo, &previous, tell) {
            return Error::CheckOut {
                why: format!("{error}, and release {} could not be checked out again: {again}", previous.release),
            };
        }
        tell(Said::Step(&format!("checked out release {} again", previous.release)));
        let scene = Scene { record: Some(&previous), previous: Some(&record.release), rollback: true, request };
        if let Err(why) = self.run_script(held, &scene, Step::PostDeploy, None, tell) {
            tell(Said::Step(&format!("post-deploy of release {} failed too: {why}", previous.release)));
        }
        error
    }
}
