# make demo | test | lint | clean; the first of them also sets up .venv
#
#   PYTHON=python3.12    the Python that .venv is made with
#   ROS_WHEELS=kilted    the ROS wheels to use where no ROS installation is sourced

PYTHON ?= python3
export ROS_WHEELS ?= jazzy
# set by the ROS wheels in a process of theirs; another environment must not inherit it
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE

BIN := .venv/bin

.PHONY: help setup demo lint test clean

help:
	@sed -n 's/^# //p' Makefile | head -1

setup:
	@command -v $(PYTHON) >/dev/null || \
	  { echo '$(PYTHON) is missing: apt-get install python3 python3-venv'; exit 1; }
	@$(PYTHON) tools/setup_venv.py

demo: setup
	@$(BIN)/python -m depth_pro_ros.demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/colcon build --event-handlers desktop_notification- status-
	$(BIN)/pytest

clean:  # keeps .venv, which takes minutes to fill
	rm -rf build install log demo .mypy_cache .pytest_cache .ruff_cache *.egg-info
