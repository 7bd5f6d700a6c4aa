"""Switches of `torch.fx` that programs set."""

# Does `split_module` and what stands on it keep nodes that only record sizes beside what they are sizes of?
do_not_emit_stack_traces = False
# May passes that move nodes put them out of the order in which they were traced?
disable_progress = True
verbose_progress = False
validate_shapes = False
translation_validation = False
