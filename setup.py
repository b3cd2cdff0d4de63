"Hands settings.ini to setuptools; holds no facts of its own."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

cfg = ConfigParser(delimiters=["="], interpolation=None)
cfg.read("settings.ini", encoding="utf-8")
meta = cfg["DEFAULT"]
urls = {name: meta[key] for name, key in (("Repository", "git_url"), ("Documentation", "doc_url")) if meta[key]}
statuses = {"3": "3 - Alpha", "4": "4 - Beta", "5": "5 - Production/Stable"}

setup(
    version=meta["version"],
    description=meta["description"],
    keywords=meta["keywords"].split(),
    author=meta["author"],
    license=meta["license"],
    project_urls=urls,
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=" + meta["min_python"],
    classifiers=[
        "Development Status :: " + statuses[meta["status"]],
        "Intended Audience :: " + meta["audience"],
        "Programming Language :: Python :: 3",
    ],
    packages=find_packages(include=[meta["lib_name"], meta["lib_name"] + ".*"]),
    package_data={meta["lib_name"]: ["results/*", "data/*", "display/page.*", "cli/names.json"]},
    install_requires=meta["requirements"].split(),
    extras_require={
        key.removesuffix("_requirements"): meta[key].split() for key in meta if key.endswith("_requirements")
    },
    entry_points={
        "console_scripts": meta["console_scripts"].split(),
        "nbdev": [f"{meta['lib_name']}={meta['lib_name']}._modidx:d"],
    },
)
