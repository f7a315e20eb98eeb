# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_failcake_global_optspecs
    string join \n c/config= v/verbose q/quiet h/help V/version
end

function __fish_failcake_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_failcake_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_failcake_using_subcommand
    set -l cmd (__fish_failcake_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c failcake -n "__fish_failcake_needs_command" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_needs_command" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_needs_command" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_needs_command" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_needs_command" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "notify-commit" -d 'Says on the bus what happened to a repository: from a hook, it never slows or refuses what happened'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "jenkins-status" -d 'Tells how a build went, from the variables that Jenkins sets in a job\'s shell step'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "jenkins-trigger" -d 'Starts a project\'s Jenkins jobs when the bus tells of a push to its repository'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "notify-package" -d 'Takes packages into a reprepro repository, archives them, and tells the bus'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "webhook" -d 'Listen for webhooks of GitHub, GitLab, Gitea and Forgejo: pushes become events, merge and pull requests lines for people'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "keepalive" -d 'Send a beat (a body of one newline, which every listener ignores) to each `keepalive:` destination, so that firewalls between the broker and its listeners see no idle link; and send what waits in the spool first'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "publish" -d 'Publish any message: the body is what comes on stdin, at most 16 MiB'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "fetch" -d 'Keeps local clones fresh, and publishes their branches or tags as directories, by `mode:`'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "tail" -d 'Prints events as they pass; with --exec, runs a command for each'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "apt-update" -d 'Runs apt-get update when the bus tells of a package of interest, and tells which version apt would install then'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "deploy" -d 'Make a tag, branch or commit live on this machine, or with --on on others'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "rollback" -d 'Switch a site back to an earlier release, on this machine or with --on on others'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "rollout" -d 'Deploys on several hosts after the fact: how far they came, and going on with one that was left'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "state" -d 'What is live on this machine, and what became of each release; with --on, what is live on others'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "tags" -d 'What could be deployed: the tags of a repository, newest first, and which site serves which; with --on, those of other machines'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "nodes" -d 'Who is there: the machines that watch for deploys, since when, and what they serve'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "hold" -d 'Freeze a site: nothing is deployed or rolled back until `unhold`'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "unhold" -d 'Lift the freeze of a site'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "access" -d 'Let people into a site for a while: temporary logins for nginx and HAProxy, granted over the bus'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "check" -d 'Look whether everything that is configured works: a line each, with its remedy'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "spool" -d 'Look at, send or drop the events that wait for the broker'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "config" -d 'Show the configuration that counts, or make a new file of old ones'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "broker" -d 'Run the embedded STOMP broker, for one machine: a demo, tests, a small office'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "demo" -d 'Shows the whole story on this machine: a push travels over a bus and comes out as a deployed release'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "man" -d 'Print the manual page, or write the pages of all commands'
complete -c failcake -n "__fish_failcake_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and not __fish_seen_subcommand_from post-receive post-commit svn payload help" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and not __fish_seen_subcommand_from post-receive post-commit svn payload help" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and not __fish_seen_subcommand_from post-receive post-commit svn payload help" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and not __fish_seen_subcommand_from post-receive post-commit svn payload help" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and not __fish_seen_subcommand_from post-receive post-commit svn payload help" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and not __fish_seen_subcommand_from post-receive post-commit svn payload help" -f -a "post-receive" -d 'Tells a push: reads `<old> <new> <ref>` lines on stdin, as git gives them to the hook post-receive'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and not __fish_seen_subcommand_from post-receive post-commit svn payload help" -f -a "post-commit" -d 'Tells the commit that HEAD of this repository stands on'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and not __fish_seen_subcommand_from post-receive post-commit svn payload help" -f -a "svn" -d 'Tells a revision: as Subversion calls the hook post-commit'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and not __fish_seen_subcommand_from post-receive post-commit svn payload help" -f -a "payload" -d 'Tells what a webhook\'s body says (GitHub, GitLab, Gitea, Forgejo): the body comes on stdin, or the web server runs this as a CGI program'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and not __fish_seen_subcommand_from post-receive post-commit svn payload help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -l repo-name -d 'The repository\'s name on the bus [default: failcake.repo-name in its git config, $GL_REPO, $GL_PROJECT_PATH, its folder]' -r
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -l limit -d 'Commits told of one ref; the total is told in any case' -r
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -l next -d 'Then run this hook with the same lines on its stdin; its exit status counts' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -l json -d 'Print what is said, one JSON object for each ref'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -l dry-run -d 'Say nothing; print what would be said'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -l all-refs -d 'Tell also refs that are neither branch nor tag (notes, pull requests, changes)'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-receive" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-commit" -l repo-name -d 'The repository\'s name on the bus [default: failcake.repo-name in its git config, $GL_REPO, $GL_PROJECT_PATH, its folder]' -r
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-commit" -l limit -d 'Commits told of one ref; the total is told in any case' -r
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-commit" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-commit" -l json -d 'Print what is said, one JSON object for each ref'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-commit" -l dry-run -d 'Say nothing; print what would be said'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-commit" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-commit" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-commit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from post-commit" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from svn" -l repo-name -d 'The repository\'s name on the bus [default: its folder\'s]' -r
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from svn" -l svnlook -d 'svnlook, where it is neither in /usr/bin, nor in /usr/local/bin, nor in PATH' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from svn" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from svn" -l json -d 'Print what is said, one JSON object for each project'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from svn" -l dry-run -d 'Say nothing; print what would be said'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from svn" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from svn" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from svn" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from svn" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from payload" -l provider -d 'Who sends it; auto: what the headers (CGI) or the body (stdin) look like' -r
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from payload" -l max-body -d 'The largest body, in octets' -r
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from payload" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from payload" -l insecure -d 'CGI: accept unsigned deliveries where no secret is configured'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from payload" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from payload" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from payload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from payload" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from help" -f -a "post-receive" -d 'Tells a push: reads `<old> <new> <ref>` lines on stdin, as git gives them to the hook post-receive'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from help" -f -a "post-commit" -d 'Tells the commit that HEAD of this repository stands on'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from help" -f -a "svn" -d 'Tells a revision: as Subversion calls the hook post-commit'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from help" -f -a "payload" -d 'Tells what a webhook\'s body says (GitHub, GitLab, Gitea, Forgejo): the body comes on stdin, or the web server runs this as a CGI program'
complete -c failcake -n "__fish_failcake_using_subcommand notify-commit; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-status" -l repo -d 'The repository\'s name on the bus, in place of GIT_URL\'s last part' -r
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-status" -l branch -d 'The branch, in place of what the variables say' -r
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-status" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-status" -l begin -d 'started'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-status" -l profit -d 'success'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-status" -l cake -d 'failure'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-status" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-status" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-status" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -l commit -d 'The commit to be built, for jobs that have it as a parameter' -r
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -l watch -d 'Stay, and start builds when the bus tells of a push. HUP reads the configuration again'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -l drain -d 'Take what waits on the durable subscription, start its builds, and exit'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -l follow -d 'Follow each build and tell the bus how it goes. With --drain: one look at each, the next run goes on'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -l list -d 'Only show what is kept and what was set aside'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -l retry -d 'Let what was set aside be tried again, too'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -l json -d 'Print one JSON object on a line for each thing that happened, or is listed'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand jenkins-trigger" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand notify-package" -l incoming -d 'Take what lies in the folders of DIR [default: `incoming:` below `packages:`]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand notify-package" -l every -d 'Go on, with this pause: 10s, 1m' -r
complete -c failcake -n "__fish_failcake_using_subcommand notify-package" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand notify-package" -l json -d 'Print one JSON object on a line for each thing that happened'
complete -c failcake -n "__fish_failcake_using_subcommand notify-package" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand notify-package" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand notify-package" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand notify-package" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand webhook" -l listen -d 'Where to listen; port 0 takes a free one' -r
complete -c failcake -n "__fish_failcake_using_subcommand webhook" -l max-body -d 'The largest body' -r
complete -c failcake -n "__fish_failcake_using_subcommand webhook" -l max-connections -d 'Connections at a time' -r
complete -c failcake -n "__fish_failcake_using_subcommand webhook" -l patience -d 'How long a body, and half of it how long a header, may take' -r
complete -c failcake -n "__fish_failcake_using_subcommand webhook" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand webhook" -l insecure -d 'Accept unsigned deliveries where no secret is configured: whoever reaches the port can say anything'
complete -c failcake -n "__fish_failcake_using_subcommand webhook" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand webhook" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand webhook" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand webhook" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand keepalive" -l every -d 'Go on, with this pause: 30s, 5m, 1h' -r
complete -c failcake -n "__fish_failcake_using_subcommand keepalive" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand keepalive" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand keepalive" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand keepalive" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand keepalive" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand publish" -l subject -d 'The `subject` header' -r
complete -c failcake -n "__fish_failcake_using_subcommand publish" -l header -d 'One more header; may be repeated' -r
complete -c failcake -n "__fish_failcake_using_subcommand publish" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand publish" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand publish" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand publish" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand publish" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand fetch" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand fetch" -l watch -d 'Stay, and fetch when the bus tells of a push; look at the remotes after each connect and every `reconcile:`'
complete -c failcake -n "__fish_failcake_using_subcommand fetch" -l drain -d 'Take what waits on the durable subscription, fetch, and exit'
complete -c failcake -n "__fish_failcake_using_subcommand fetch" -l allow-mass-removal -d 'Remove published directories however many of them have no branch or tag any more'
complete -c failcake -n "__fish_failcake_using_subcommand fetch" -l adopt -d 'Move aside what is in the way of a directory to be published, and tell where it is kept'
complete -c failcake -n "__fish_failcake_using_subcommand fetch" -l json -d 'Print one JSON object on a line for each repository that was looked at'
complete -c failcake -n "__fish_failcake_using_subcommand fetch" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand fetch" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand fetch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand fetch" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand tail" -l repo -d 'Only of such repositories (for Subversion: repositories or projects); * stands for any characters. May be repeated' -r
complete -c failcake -n "__fish_failcake_using_subcommand tail" -l type -d 'Only of this type: push, revision, build, human, …. May be repeated' -r
complete -c failcake -n "__fish_failcake_using_subcommand tail" -l since -d 'Only what happened since then: so long before the start (1h), or a time (2026-03-02T10:00:00Z). What does not say when it happened passes' -r
complete -c failcake -n "__fish_failcake_using_subcommand tail" -l name -d 'What the durable subscription and the notes on disk are called; each command on a machine needs its own [default: the program\'s name]' -r
complete -c failcake -n "__fish_failcake_using_subcommand tail" -l timeout -d 'How long one run may take; then it is ended, and has failed' -r
complete -c failcake -n "__fish_failcake_using_subcommand tail" -l retries -d 'How often a run that failed is tried again, after 1, 2, 4, … seconds' -r
complete -c failcake -n "__fish_failcake_using_subcommand tail" -l exec -d 'Runs this for each event; all words that follow are its own, so it comes last' -r
complete -c failcake -n "__fish_failcake_using_subcommand tail" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand tail" -l json -d 'One JSON object a line: id, type, time, destination, subject, repo, ref, commit, all headers, the body, and as `data` what its JSON line says'
complete -c failcake -n "__fish_failcake_using_subcommand tail" -l durable -d 'The broker keeps what is missed; a message is acknowledged when it was printed, or its command has run. `durable: true` in the configuration means --exec too'
complete -c failcake -n "__fish_failcake_using_subcommand tail" -l drain -d 'Take what waits on the durable subscription, then exit: for cron'
complete -c failcake -n "__fish_failcake_using_subcommand tail" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand tail" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand tail" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand tail" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand apt-update" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand apt-update" -l watch -d 'Stay, and update when the bus tells of a package; and after each connect and every `reconcile:`'
complete -c failcake -n "__fish_failcake_using_subcommand apt-update" -l drain -d 'Take what waits on the durable subscription, update, and exit'
complete -c failcake -n "__fish_failcake_using_subcommand apt-update" -l json -d 'Print one JSON object on a line for each package whose version is told'
complete -c failcake -n "__fish_failcake_using_subcommand apt-update" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand apt-update" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand apt-update" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand apt-update" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l on -d 'These hosts: names, patterns (web*), groups, facts (role=web), joined by and, or, not and commas; or @FILE' -r
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l canary -d 'So many hosts go first, alone, and all of them must succeed [default: 1]' -r
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l bake -d 'How long the canary is watched before the others follow [default: 0]' -r
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l batch -d 'How many at a time after it: 5, 25%, or one size after another (1,5,25%) [default: 25%]' -r
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l max-failures -d 'Stop when more hosts than that failed, refused, fell silent or were never reached [default: 0]' -r
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l on-failure -d 'What becomes of the hosts that are done when it stops [default: stop]' -r -f -a "stop\t'They stay at the new release'
rollback\t'They go back to the release before'"
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l within -d 'No host begins later than that from now [default: 1h]' -r
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l patience -d 'A host at work that says nothing for so long went silent [default: 1m]' -r
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l watch -d 'Stay, and deploy what signed plans on the bus ask for, until TERM; HUP reads the configuration again'
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l dry-run -d 'Say what would be done, from what to what, and which files change; touch nothing'
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l wait -d 'Wait while another deploy or rollback of the site is under way, instead of giving up'
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -l json -d 'Print the result as JSON; with --on, an event on each line'
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand deploy" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l to -d 'This release, which was live once, also one that was rolled back from: its name, or the tag, branch or commit (seven digits of it or more) that was deployed; of a Subversion site `tags/NAME`, of a link farm `REPO=REF`' -r
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l on -d 'These hosts: names, patterns (web*), groups, facts (role=web), joined by and, or, not and commas; or @FILE' -r
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l canary -d 'So many hosts go first, alone, and all of them must succeed [default: 1]' -r
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l bake -d 'How long the canary is watched before the others follow [default: 0]' -r
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l batch -d 'How many at a time after it: 5, 25%, or one size after another (1,5,25%) [default: 25%]' -r
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l max-failures -d 'Stop when more hosts than that failed, refused, fell silent or were never reached [default: 0]' -r
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l on-failure -d 'What becomes of the hosts that are done when it stops [default: stop]' -r -f -a "stop\t'They stay at the new release'
rollback\t'They go back to the release before'"
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l within -d 'No host begins later than that from now [default: 1h]' -r
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l patience -d 'A host at work that says nothing for so long went silent [default: 1m]' -r
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l wait -d 'Wait while a deploy or another rollback of the site is under way, instead of giving up'
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l dry-run -d 'Say what would be done, from what to what, and which files change; with --on, on which hosts. Touch and send nothing'
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -l json -d 'Print the result as JSON; with --on, an event on each line'
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand rollback" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and not __fish_seen_subcommand_from status resume list help" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and not __fish_seen_subcommand_from status resume list help" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and not __fish_seen_subcommand_from status resume list help" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and not __fish_seen_subcommand_from status resume list help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and not __fish_seen_subcommand_from status resume list help" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and not __fish_seen_subcommand_from status resume list help" -f -a "status" -d 'Show each host of a plan: what was heard of it, and what it says now'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and not __fish_seen_subcommand_from status resume list help" -f -a "resume" -d 'Go on with a plan whose process was left or killed, by the same rules; no host does anything twice. One that was being stopped goes on being stopped. Hosts of one that is over are told so again: one that was away then keeps its site from other plans until it hears it'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and not __fish_seen_subcommand_from status resume list help" -f -a "list" -d 'List the plans that are kept, newest first'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and not __fish_seen_subcommand_from status resume list help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from status" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from status" -l json -d 'Print an event on each line, as JSON'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from status" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l patience -d 'A host at work that says nothing for so long went silent [default: 1m]' -r
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l json -d 'Print an event on each line, as JSON'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from list" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from list" -l json -d 'Print a plan on each line, as JSON'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from help" -f -a "status" -d 'Show each host of a plan: what was heard of it, and what it says now'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from help" -f -a "resume" -d 'Go on with a plan whose process was left or killed, by the same rules; no host does anything twice. One that was being stopped goes on being stopped. Hosts of one that is over are told so again: one that was away then keeps its site from other plans until it hears it'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the plans that are kept, newest first'
complete -c failcake -n "__fish_failcake_using_subcommand rollout; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand state" -l on -d 'On these machines, over the bus: names, globs, groups, facts (`role=web and dc!=lon`), @FILE' -r
complete -c failcake -n "__fish_failcake_using_subcommand state" -l within -d 'With --on: how long to wait for the last answer' -r
complete -c failcake -n "__fish_failcake_using_subcommand state" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand state" -l json -d 'Print JSON: a list of sites, each with `current`, `holder`, `hold`, `problem` and `releases`; with --on one of what each machine says, with `node`, `silent`, `answered` (in a way that counts), `verified` (signed by it) and `behind`'
complete -c failcake -n "__fish_failcake_using_subcommand state" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand state" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand state" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand state" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand tags" -l on -d 'On these machines, over the bus: names, globs, groups, facts (`role=web and dc!=lon`), @FILE' -r
complete -c failcake -n "__fish_failcake_using_subcommand tags" -l within -d 'With --on: how long to wait for the last answer' -r
complete -c failcake -n "__fish_failcake_using_subcommand tags" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand tags" -l json -d 'Print JSON: a list of tags, each with `tag`, `commit` (of Subversion the revision), `date` and `live`, the sites that serve it; with --on, the machines that do, and `missing`, those that do not have it'
complete -c failcake -n "__fish_failcake_using_subcommand tags" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand tags" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand tags" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand tags" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand nodes" -l on -d 'Only these: names, globs, groups, facts (`role=web and dc!=lon`), @FILE' -r
complete -c failcake -n "__fish_failcake_using_subcommand nodes" -l within -d 'How long to wait for the last answer' -r
complete -c failcake -n "__fish_failcake_using_subcommand nodes" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand nodes" -l json -d 'Print JSON: a list of nodes, each with `node`, `answered` (in a way that counts), `verified` (signed by it) and what it said'
complete -c failcake -n "__fish_failcake_using_subcommand nodes" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand nodes" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand nodes" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand nodes" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand hold" -l reason -d 'Why: it is told to whoever is refused' -r
complete -c failcake -n "__fish_failcake_using_subcommand hold" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand hold" -l json -d 'Print the result as JSON'
complete -c failcake -n "__fish_failcake_using_subcommand hold" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand hold" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand hold" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand hold" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand unhold" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand unhold" -l json -d 'Print the freeze that was lifted as JSON; `null` when there was none'
complete -c failcake -n "__fish_failcake_using_subcommand unhold" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand unhold" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand unhold" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand unhold" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -l watch -d 'Stay, take orders from the bus, and end each login when its time is up. HUP reads the configuration again'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -l drain -d 'Take what waits on the durable subscription, end what is over, and exit'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -l json -d 'Print one JSON object on a line for each thing that happened'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -f -a "grant" -d 'Let USER into SITE: makes a password, prints it once, sends its hash'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -f -a "revoke" -d 'End the login of USER to SITE before its time'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -f -a "list" -d 'Who is let in on this machine, by whom, until when; and who was, lately'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -f -a "expire" -d 'End what is over on this machine, and mend its files; for cron, where nothing watches. Needs no broker'
complete -c failcake -n "__fish_failcake_using_subcommand access; and not __fish_seen_subcommand_from grant revoke list expire help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from grant" -l for -d 'For how long; at most 366d' -r
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from grant" -l within -d 'How long a node that is away may take it late; at most 7d' -r
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from grant" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from grant" -l json -d 'Print {site, user, password, expires} as JSON'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from grant" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from grant" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from grant" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from grant" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from revoke" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from revoke" -l json -d 'Print {site, user} as JSON'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from revoke" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from revoke" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from revoke" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from list" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from list" -l json -d 'One JSON array'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from expire" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from expire" -l json -d 'Print one JSON object on a line for each thing that happened'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from expire" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from expire" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from expire" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from expire" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from help" -f -a "grant" -d 'Let USER into SITE: makes a password, prints it once, sends its hash'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'End the login of USER to SITE before its time'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from help" -f -a "list" -d 'Who is let in on this machine, by whom, until when; and who was, lately'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from help" -f -a "expire" -d 'End what is over on this machine, and mend its files; for cron, where nothing watches. Needs no broker'
complete -c failcake -n "__fish_failcake_using_subcommand access; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand check" -l oldest -d 'How long the oldest event may wait in the spool, and the oldest build for Jenkins' -r
complete -c failcake -n "__fish_failcake_using_subcommand check" -l look -d 'How long ago the last good look at a repository may be [default: three times `reconcile:`, at least 15m; 1d]' -r
complete -c failcake -n "__fish_failcake_using_subcommand check" -l free -d 'How much room there must be, as part or size, on each file system that is written to [default: 5% or 1GiB, whichever is less; 1% or 100MiB]' -r
complete -c failcake -n "__fish_failcake_using_subcommand check" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand check" -l round-trip -d 'Also send a beat over each topic that the configuration has this machine use, and wait for it: a missing permission is silent otherwise. Nobody takes a beat for an event'
complete -c failcake -n "__fish_failcake_using_subcommand check" -l json -d 'Print JSON: a list of objects with `level` (ok, warn, fail), `about`, `text`, `remedy` and what was measured'
complete -c failcake -n "__fish_failcake_using_subcommand check" -l nagios -d 'Print one line with status and numbers, as Nagios, Icinga and their like want it'
complete -c failcake -n "__fish_failcake_using_subcommand check" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand check" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand check" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and not __fish_seen_subcommand_from list flush drop help" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand spool; and not __fish_seen_subcommand_from list flush drop help" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and not __fish_seen_subcommand_from list flush drop help" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and not __fish_seen_subcommand_from list flush drop help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and not __fish_seen_subcommand_from list flush drop help" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and not __fish_seen_subcommand_from list flush drop help" -f -a "list" -d 'What waits or was set aside: id, age, size, destination, subject, and why'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and not __fish_seen_subcommand_from list flush drop help" -f -a "flush" -d 'Send what waits now, oldest first. Exit status 1 when something is left or was refused'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and not __fish_seen_subcommand_from list flush drop help" -f -a "drop" -d 'Remove events for good, waiting or set aside'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and not __fish_seen_subcommand_from list flush drop help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from list" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from list" -l json -d 'One JSON array'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from flush" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from flush" -l refused -d 'Try again what was set aside, too'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from flush" -l json -d 'One JSON object'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from flush" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from flush" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from flush" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from flush" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from drop" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from drop" -l all -d 'All of them'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from drop" -l yes -d 'Do not ask'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from drop" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from drop" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from drop" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from drop" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "list" -d 'What waits or was set aside: id, age, size, destination, subject, and why'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "flush" -d 'Send what waits now, oldest first. Exit status 1 when something is left or was refused'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "drop" -d 'Remove events for good, waiting or set aside'
complete -c failcake -n "__fish_failcake_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand config; and not __fish_seen_subcommand_from show import help" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand config; and not __fish_seen_subcommand_from show import help" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand config; and not __fish_seen_subcommand_from show import help" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand config; and not __fish_seen_subcommand_from show import help" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_using_subcommand config; and not __fish_seen_subcommand_from show import help" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand config; and not __fish_seen_subcommand_from show import help" -f -a "show" -d 'Print all keys with the values that count, as YAML that could be a configuration file'
complete -c failcake -n "__fish_failcake_using_subcommand config; and not __fish_seen_subcommand_from show import help" -f -a "import" -d 'Make one new file of the Ruby daemons\' old ones: stomp-git.yaml, stomp-postrec.yaml and their like'
complete -c failcake -n "__fish_failcake_using_subcommand config; and not __fish_seen_subcommand_from show import help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from show" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print JSON: an object with `files`, `passcode-set` and `config`'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from import" -s o -l output -d 'Write the new file there [default: standard output]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from import" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from import" -l force -d 'Replace files that are there'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from import" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from import" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from import" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Print all keys with the values that count, as YAML that could be a configuration file'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "import" -d 'Make one new file of the Ruby daemons\' old ones: stomp-git.yaml, stomp-postrec.yaml and their like'
complete -c failcake -n "__fish_failcake_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand broker" -l listen -d 'Where to listen; port 0 takes a free one' -r
complete -c failcake -n "__fish_failcake_using_subcommand broker" -l user -d 'Who may log in, with the file that holds the passcode; may be repeated. With none, everybody may, but only from this machine' -r
complete -c failcake -n "__fish_failcake_using_subcommand broker" -l max-connections -d 'Connections at a time' -r
complete -c failcake -n "__fish_failcake_using_subcommand broker" -l max-memory -d 'Memory for everything that waits. A SEND that does not fit is refused, and failcake\'s senders keep it' -r
complete -c failcake -n "__fish_failcake_using_subcommand broker" -l max-backlog -d 'Memory for what waits for one queue or subscription. Over it, a SEND to a queue or a durable subscription is refused; any other subscriber is disconnected for being too slow' -r
complete -c failcake -n "__fish_failcake_using_subcommand broker" -l max-message -d 'The largest body of a message' -r
complete -c failcake -n "__fish_failcake_using_subcommand broker" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand broker" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand broker" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand broker" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand broker" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand demo" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand demo" -l keep -d 'Leave the scratch folder, and print the commands to play on'
complete -c failcake -n "__fish_failcake_using_subcommand demo" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand demo" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c failcake -n "__fish_failcake_using_subcommand demo" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand completions" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand completions" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand completions" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand completions" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_using_subcommand completions" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand man" -l dir -d 'Write one page per command into this folder instead' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand man" -s c -l config -d 'Configuration file [default: $FAILCAKE_CONFIG, a person\'s own, /etc/failcake/failcake.yaml and conf.d]' -r -F
complete -c failcake -n "__fish_failcake_using_subcommand man" -s v -l verbose -d 'Say more on stderr; twice for even more'
complete -c failcake -n "__fish_failcake_using_subcommand man" -s q -l quiet -d 'Say only errors on stderr'
complete -c failcake -n "__fish_failcake_using_subcommand man" -s h -l help -d 'Print help'
complete -c failcake -n "__fish_failcake_using_subcommand man" -s V -l version -d 'Print version'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "notify-commit" -d 'Says on the bus what happened to a repository: from a hook, it never slows or refuses what happened'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "jenkins-status" -d 'Tells how a build went, from the variables that Jenkins sets in a job\'s shell step'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "jenkins-trigger" -d 'Starts a project\'s Jenkins jobs when the bus tells of a push to its repository'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "notify-package" -d 'Takes packages into a reprepro repository, archives them, and tells the bus'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "webhook" -d 'Listen for webhooks of GitHub, GitLab, Gitea and Forgejo: pushes become events, merge and pull requests lines for people'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "keepalive" -d 'Send a beat (a body of one newline, which every listener ignores) to each `keepalive:` destination, so that firewalls between the broker and its listeners see no idle link; and send what waits in the spool first'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "publish" -d 'Publish any message: the body is what comes on stdin, at most 16 MiB'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "fetch" -d 'Keeps local clones fresh, and publishes their branches or tags as directories, by `mode:`'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "tail" -d 'Prints events as they pass; with --exec, runs a command for each'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "apt-update" -d 'Runs apt-get update when the bus tells of a package of interest, and tells which version apt would install then'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "deploy" -d 'Make a tag, branch or commit live on this machine, or with --on on others'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "rollback" -d 'Switch a site back to an earlier release, on this machine or with --on on others'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "rollout" -d 'Deploys on several hosts after the fact: how far they came, and going on with one that was left'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "state" -d 'What is live on this machine, and what became of each release; with --on, what is live on others'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "tags" -d 'What could be deployed: the tags of a repository, newest first, and which site serves which; with --on, those of other machines'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "nodes" -d 'Who is there: the machines that watch for deploys, since when, and what they serve'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "hold" -d 'Freeze a site: nothing is deployed or rolled back until `unhold`'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "unhold" -d 'Lift the freeze of a site'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "access" -d 'Let people into a site for a while: temporary logins for nginx and HAProxy, granted over the bus'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "check" -d 'Look whether everything that is configured works: a line each, with its remedy'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "spool" -d 'Look at, send or drop the events that wait for the broker'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "config" -d 'Show the configuration that counts, or make a new file of old ones'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "broker" -d 'Run the embedded STOMP broker, for one machine: a demo, tests, a small office'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "demo" -d 'Shows the whole story on this machine: a push travels over a bus and comes out as a deployed release'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "completions" -d 'Print the completions for a shell'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "man" -d 'Print the manual page, or write the pages of all commands'
complete -c failcake -n "__fish_failcake_using_subcommand help; and not __fish_seen_subcommand_from notify-commit jenkins-status jenkins-trigger notify-package webhook keepalive publish fetch tail apt-update deploy rollback rollout state tags nodes hold unhold access check spool config broker demo completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from notify-commit" -f -a "post-receive" -d 'Tells a push: reads `<old> <new> <ref>` lines on stdin, as git gives them to the hook post-receive'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from notify-commit" -f -a "post-commit" -d 'Tells the commit that HEAD of this repository stands on'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from notify-commit" -f -a "svn" -d 'Tells a revision: as Subversion calls the hook post-commit'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from notify-commit" -f -a "payload" -d 'Tells what a webhook\'s body says (GitHub, GitLab, Gitea, Forgejo): the body comes on stdin, or the web server runs this as a CGI program'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from rollout" -f -a "status" -d 'Show each host of a plan: what was heard of it, and what it says now'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from rollout" -f -a "resume" -d 'Go on with a plan whose process was left or killed, by the same rules; no host does anything twice. One that was being stopped goes on being stopped. Hosts of one that is over are told so again: one that was away then keeps its site from other plans until it hears it'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from rollout" -f -a "list" -d 'List the plans that are kept, newest first'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from access" -f -a "grant" -d 'Let USER into SITE: makes a password, prints it once, sends its hash'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from access" -f -a "revoke" -d 'End the login of USER to SITE before its time'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from access" -f -a "list" -d 'Who is let in on this machine, by whom, until when; and who was, lately'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from access" -f -a "expire" -d 'End what is over on this machine, and mend its files; for cron, where nothing watches. Needs no broker'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "list" -d 'What waits or was set aside: id, age, size, destination, subject, and why'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "flush" -d 'Send what waits now, oldest first. Exit status 1 when something is left or was refused'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "drop" -d 'Remove events for good, waiting or set aside'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Print all keys with the values that count, as YAML that could be a configuration file'
complete -c failcake -n "__fish_failcake_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "import" -d 'Make one new file of the Ruby daemons\' old ones: stomp-git.yaml, stomp-postrec.yaml and their like'
