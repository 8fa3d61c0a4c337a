"""SAM template -> CloudFormation template, as AWS would make it: `translate.py TEMPLATE > OUTPUT`.

Runs in the environment of requirements/tools.txt. What the translator rejects ends it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

PACKAGED = "s3://bucket/key"  # what `sam package` writes in place of a directory


def main() -> int:
    os.environ["AWS_DEFAULT_REGION"] = "us-west-2"  # for its pseudo parameters
    template = yaml_parse(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = PACKAGED
    parameters = {name: str(one.get("Default", "")) for name, one in template["Parameters"].items()}
    try:
        made = Translator({}, Parser()).translate(template, parameters)
    except InvalidDocumentException as error:
        for cause in error.causes:
            print(cause.message, file=sys.stderr)
        return 1
    json.dump(made, sys.stdout, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
