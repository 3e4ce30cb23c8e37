# The whole paper as one graph: what each result is made of. 'make paper' and 'make run'
# call it, with
#
#   MODEL     a model directory or GGUF file      MODE      how tokenize reads the texts
#   TEXT      for the triggers                    SENTENCES how many of its sentences; empty: all
#   VALID     for section 5, the aggregation      PREFIXES  random prefixes of it, or all
#   OUT       the folder of results               KEYS      keys a layer for token removal; 0: all
#   BIN       the folder of the tools             REMOVALS  triggers of each of these keys
#   ABLATED   as PREFIXES (its default), for the removal of memories, which takes a run of the model for each
#             layer and kind; with EVERY=N it is of each N-th layer alone
#   NAME      the model's in the report (its file's or folder's, where there is none)
#   ANNOTATIONS  CSV files that readers of the annotation page saved
#   PRODUCTS  how products with the model's matrices are made, words of --products; empty: auto
#   SHARDS    where it is given: experiments that are divided run in so many parts
#
# and the names of targets: all, which is the default, or experiments, figures, report.
#
# experiments.csv beside this file lists the experiments and their results. figures.sh, options.sh
# and report-pages read it, too, and tests compare it with the manual. Its columns are
#
#   experiment  the target, which the script is usually named after
#   needs       the experiment whose stream it reads, OUT/NEEDS.msgpack, which is listed before it
#   text        the text that its script is given: TEXT or VALID
#   options     the options that its script is given, by their names below
#   scripts     files in this folder that it is made of; the first is run
#   tools       tools that it is made of
#   result      a file that it leaves in OUT
#   figure      figures/FIGURE.gp draws this table
#   panels      of the figure: 1, 2, or models, which is one for each
#   columns     of the table, that the figure needs
#   title       of the table in the report, which shows only tables that have one
#   caption     of the figure in the report, likewise
#
# A row is a result, or a further figure of one. What an experiment is made of (needs to tools)
# stands in its first row alone, and so does the title of a table.
#
# make only orders the steps. step.sh runs one when something that it is made of is not what
# it was when its results were made, or when a result is not what it was then: texts, the
# model's files, tools, scripts, options, results of other steps, all by their contents. So
# a run that was interrupted goes on where it was, and times do not matter.
#
# Experiments whose scripts read shard.sh are divided: with SHARDS=N they run through shards.sh, which
# calls make again with SHARD=I/N for each part. This is a step of its own, without what it needs, whose
# result is OUT/shards/EXPERIMENT.I-of-N; it goes when the experiment's own results are there. SHARD, SHARDS
# and AUTO_PRODUCTS, what auto is for all shards, are not part of what results are made of. With
# QUESTION=yes a step, or a shard, is not run: the status says whether there is anything to do.
#
# One make at a time works in OUT: alone.sh calls make again, for the same targets, with
# the lock. Shards need none.

GRAPH := $(lastword $(MAKEFILE_LIST))
SCRIPTS := $(patsubst %/,%,$(dir $(GRAPH)))
export MODEL NAME TEXT VALID OUT BIN SCRIPTS
export MODE SENTENCES PREFIXES KEYS REMOVALS EVERY PRODUCTS SHARDS
# The names of what this make is given, for those that work on its shards; the values are exported anyway.
export SETTINGS := $(sort $(filter-out ALONE SHARD SHARDS QUESTION WHAT THREADS TRIES RATE SBATCH PARALLEL \
	AUTO_PRODUCTS,\
$(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))))
# The clone's path may have spaces or dollars, so BIN is relative to it, and neither is expanded here.
export PATH := $(if $(filter /%,$(BIN)),$(BIN),$(CURDIR)/$(BIN)):$(value PATH)

# One step, for a make that knows what it needs.
single := $(SHARD)$(QUESTION)

ifeq ($(ALONE)$(single),)

goals := $(or $(MAKECMDGOALS),all)
$(goals): alone
	@:
alone:
	+@"$$SCRIPTS/alone.sh" "$$OUT" $(MAKE) --no-print-directory -f "$(GRAPH)" $(goals) \
		$(if $(filter all report slurm,$(goals)),,options) ALONE=1
.PHONY: alone $(goals)

else

# $(call name_of,FILE): without folders and what is behind the last point; spaces stay.
space := $() $()
stand_in := $(shell printf '\037')
$(if $(stand_in),,$(error printf gives nothing))
name_of = $(subst $(stand_in),$(space),$(basename $(notdir $(subst $(space),$(stand_in),$(1)))))
export TEXT_NAME := $(call name_of,$(TEXT))
export VALID_NAME := $(call name_of,$(VALID))

# Options that depend on what make is given, by the names that the list has for them.
limited := --mode $(MODE) --name "$$TEXT_NAME"$(if $(SENTENCES), --limit $(SENTENCES))
sampled := $(if $(filter all,$(PREFIXES)),--all,--prefixes $(PREFIXES)) --mode $(MODE) --name "$$VALID_NAME"
removed := --sample $(KEYS) --top $(REMOVALS)
export ABLATED ?= $(PREFIXES)
ablated := $(if $(filter all,$(ABLATED)),--all,--prefixes $(ABLATED)) --removed 10 \
	$(if $(EVERY),--every $(EVERY)) --mode $(MODE) --name "$$VALID_NAME"

# Of what multiplies; auto is what the tools do without it.
products := $(if $(filter-out auto,$(PRODUCTS)),--products $(PRODUCTS))

# $(call listed,COLUMNS,EXPERIMENT): what experiments.csv has
listed = $(shell "$(SCRIPTS)/listed.sh" "$(1)" $(2))$(if $(filter-out 0,$(.SHELLSTATUS)),\
$(error experiments.csv, beside $(GRAPH), cannot be read))
experiments := $(call listed,experiment)
$(if $(experiments),,$(error experiments.csv, beside $(GRAPH), lists nothing))

# $(call step,NAME,SCRIPTS,TOOLS): what runs a step, and the scripts and tools that it is made of
step = "$$SCRIPTS/step.sh" $(1) \
$(foreach script,$(2),"$$SCRIPTS/$(script)") $(foreach tool,$(3),"$$BIN/$(tool)")
shard_name = $@$(if $(SHARD),.$(subst /,-of-,$(SHARD)))
listed_step = $(call step,$(shard_name),$(call listed,scripts,$@),$(call listed,tools,$@))
# $(call in_out,FILES)
in_out = $(foreach file,$(1),"$$OUT/$(file)")
published = "$$SCRIPTS/../data/published.csv"

all: $(experiments) figures report

# ---- experiments ----

# Their scripts take MODEL, perhaps a text, OUT, options.
given = "$$MODEL" $(patsubst %,"$$%",$(call listed,text,$@))
needed = $(call in_out,$(addsuffix .msgpack,$(call listed,needs,$@)))
multiplied = $(if $(filter forward-dump project-values,$(call listed,tools,$@)),$(products))
options = $(foreach name,$(call listed,options,$@),$(or $($(name)),\
	$(error experiments.csv: $@: no options are called $(name))))

divided = $(filter shard.sh,$(call listed,scripts,$@))
through = $(if $(SHARD),,$(if $(SHARDS),$(if $(divided),--through "$$SCRIPTS/shards.sh")))
how = $(if $(QUESTION),--question,$(through))
$(filter-out patterns signs,$(experiments)): export EXPERIMENT = $@
$(filter-out patterns signs,$(experiments)):
	@$(if $(SHARD),$(if $(divided),,$(error $@ is not divided into shards)))$(listed_step) $(given) $(needed) \
		--results $(if $(SHARD),shards/$(shard_name),$(call listed,result,$@)) $(how) \
		-- "$$SCRIPTS/$(firstword $(call listed,scripts,$@))" $(if $(SHARD),--shard $(SHARD)) \
		$(given) "$$OUT" $(multiplied) $(options)
	@$(if $(single),,rm -rf "$$OUT/shards/$@".* "$$OUT/.made/$@".*-of-*.step)

ifndef single
$(foreach name,$(experiments),$(eval $(name): $(call listed,needs,$(name))))
$(experiments): | without_options
endif

# Made of what readers noted, where they did.
patterns:
	@$(if $(ANNOTATIONS),$(listed_step) $(ANNOTATIONS) $(needed) --results $(call listed,result,$@) \
		-- "$$SCRIPTS/annotation.sh" "$$MODEL" "$$OUT" $(ANNOTATIONS),$(call step,$@) --undo)

annotation: patterns

# Of gated layers, whose triggers come with counts of signs.
signs:
	@header=$$(stream-cat --header "$$OUT/triggers.msgpack") || exit; case $$header in *'"signs_bin"'*) \
		$(listed_step) $(given) $(needed) --results $(call listed,result,$@) \
		-- "$$SCRIPTS/signs.sh" $(given) "$$OUT" ;; *) $(call step,$@) --undo ;; esac

# ---- a cluster ----

# Submits WHAT, in SHARDS shards, and runs nothing here.
slurm:
	@$(if $(SHARDS),,$(error SHARDS is not given: in how many parts are the experiments to be divided?))\
		"$$SCRIPTS/slurm.sh" $(or $(WHAT),all)

# ---- pictures and pages ----

# Tables, and those that are there only where readers noted something, or where layers are gated.
noted := $(filter %.csv,$(call listed,result,patterns))
gated := $(filter %.csv,$(call listed,result,signs))
tables := $(filter-out $(noted) $(gated),$(filter %.csv,$(call listed,result)))

figures: $(experiments)
	@$(call step,$@,figures.sh listed.sh experiments.csv figures.gp figures.css figures) $(published) \
		$(call in_out,$(tables)) --maybe $(call in_out,$(noted)) \
		--results figures -- "$$SCRIPTS/figures.sh" "$$OUT/figures" "$$OUT"

report: figures options
	@$(call step,$@,report.sh,report-pages) "$$MODEL" $(published) \
		$(call in_out,triggers.msgpack figures options.csv $(tables)) \
		--maybe $(call in_out,$(noted) $(gated) traces) \
		--results report -- "$$SCRIPTS/report.sh" "$$MODEL" "$$OUT" $(if $(NAME),--name "$$NAME")

# What the experiments were run with: made behind all that are asked for, and taken away before the
# first, so that a run that is interrupted leaves no table rather than that of the run before it.
options: $(filter $(experiments),$(MAKECMDGOALS)) \
		$(if $(filter all figures report,$(MAKECMDGOALS)),$(experiments))
	@rmdir "$$OUT/shards" 2>/dev/null || :
	@"$$SCRIPTS/options.sh" "$$OUT"

without_options:
	@rm -f "$$OUT/options.csv"

.PHONY: all $(experiments) slurm figures report options without_options

endif
