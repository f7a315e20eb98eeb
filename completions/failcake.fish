complete --keep-order --exclusive --command failcake --arguments "(FAILCAKE_COMPLETE=fish failcake -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
