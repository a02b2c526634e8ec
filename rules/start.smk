# Between the plan and the first job, and after the last one.

verified_before = times(f"results/{study.name}/verified*/**/*.json")


onstart:
    try:
        if "preflight" in sys.argv:
            # from here, as what it has Snakemake do may fail before any job begins
            fly(preflight_plan())
        if "cost" not in sys.argv:  # which changes nothing
            elsewhere = hold(".")
            for job in cancel_left_jobs(".", elsewhere, slurm=not workflow.local_exec):
                logger.info(f"Cancelled the Slurm job {job}, which an earlier run in this folder left.")
        if not workflow.local_exec:
            watch(workflow.executor_settings)
            check_partitions()
        if requested and not is_locked(study):
            lock_study()
            # the plan was made of what was expected; the same command once more makes it of what there is
            os.execvp(sys.executable, sys.orig_argv)
        # before the first byte: is there room for all that this run fetches?
        begin_fetching(requested, f"results/{study.name}/fetching.json")
    except (AoeError, OSError) as error:
        raise WorkflowError(str(error))


# Snakemake does not look at whether a job has reasons of its own while one that it depends on has to be run, and then
# leaves it out, as receipts are `ancient` to it.  What such a run did not see, the same command does once more.
onsuccess:
    if any(time_ != verified_before[path] for path, time_ in times(*verified_before).items()):
        logger.info("Files that had changed were verified anew; now for what else there is to do.")
        os.execvp(sys.executable, sys.orig_argv)


def check_partitions():
    """Is there anything that Slurm would refuse, or let wait for ever?  Raises AoeError that says it all."""
    asked = asked_of(workflow.dag, workflow.execution_settings.retries, config.get("most_minutes"))
    if found := problems(asked, read_partitions()) if asked else []:
        raise AoeError("\n".join(found))


def lock_study():
    """Write the lock file that the study names, of what its sources have now."""
    logger.info(f"{study.content['lock']} does not exist yet: locking what the study's sources have now.")
    entries = []
    for entry in lock_all(inputs_to_lock(), study.unions(), logger.warning):
        entries.append(entry)
        logger.info(f"{entry.name}: {entry.revision}, {entry.size(entry.needed) / 1e9:,.1f} GB")
    if branches := resolved(entries):
        logger.info(branches)
    path = Path(study.content["lock"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".partial").write_text(format_lock(entries), encoding="utf-8")
    path.with_suffix(".partial").replace(path)
