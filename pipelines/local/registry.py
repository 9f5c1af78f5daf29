"""SageMaker's model registry and tags on the local stage: tables, nothing is executed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class ServiceError(Exception):
    """An error of the API: its code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Registry:
    """Model package groups, their versions, and tags of everything."""

    def __init__(self, account: str, region: str) -> None:
        self._base = f"arn:aws:sagemaker:{region}:{account}"
        self.groups: dict[str, dict[str, Any]] = {}
        self.packages: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, int] = {}
        self.tags: dict[str, list[dict[str, str]]] = {}

    def actions(self) -> dict[str, Callable[[dict], dict]]:
        return {
            "CreateModelPackageGroup": self.create_group,
            "DescribeModelPackageGroup": self.describe_group,
            "DeleteModelPackageGroup": self.delete_group,
            "ListModelPackageGroups": self.list_groups,
            "CreateModelPackage": self.create_package,
            "DescribeModelPackage": self.describe_package,
            "UpdateModelPackage": self.update_package,
            "DeleteModelPackage": self.delete_package,
            "ListModelPackages": self.list_packages,
            "AddTags": self.add_tags,
            "ListTags": self.list_tags,
        }

    def create_group(self, data: dict) -> dict:
        name = data["ModelPackageGroupName"]
        if name in self.groups:
            raise ServiceError("ValidationException", f"Model Package Group already exists: {name}")
        arn = f"{self._base}:model-package-group/{name}"
        self.groups[name] = {
            "ModelPackageGroupName": name,
            "ModelPackageGroupArn": arn,
            "ModelPackageGroupDescription": data.get("ModelPackageGroupDescription", ""),
            "ModelPackageGroupStatus": "Completed",
            "CreationTime": time.time(),
            "CreatedBy": {},
        }
        self.tags[arn] = list(data.get("Tags", []))
        return {"ModelPackageGroupArn": arn}

    def describe_group(self, data: dict) -> dict:
        return dict(self._group(data["ModelPackageGroupName"]))

    def _group(self, name: str) -> dict[str, Any]:
        short = name.rpartition("/")[2]
        if short not in self.groups:
            raise ServiceError("ValidationException", f"Model Package Group {short} does not exist")
        return self.groups[short]

    def delete_group(self, data: dict) -> dict:
        group = self._group(data["ModelPackageGroupName"])
        del self.groups[group["ModelPackageGroupName"]]
        return {}

    def list_groups(self, data: dict) -> dict:
        part = data.get("NameContains", "")
        found = [dict(group) for name, group in sorted(self.groups.items()) if part in name]
        return {"ModelPackageGroupSummaryList": found}

    def create_package(self, data: dict) -> dict:
        """A new version in its group."""
        group = self._group(data["ModelPackageGroupName"])["ModelPackageGroupName"]
        version = self._next_version(group)
        arn = f"{self._base}:model-package/{group}/{version}"
        self.packages[arn] = {
            **{k: v for k, v in data.items() if k != "Tags"},
            "ModelPackageGroupName": group,
            "ModelPackageVersion": version,
            "ModelPackageArn": arn,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": []},
            "ModelApprovalStatus": data.get("ModelApprovalStatus", "PendingManualApproval"),
            "CreationTime": time.time(),
        }
        return {"ModelPackageArn": arn}

    def _next_version(self, group: str) -> int:
        """One more than the highest ever given out: a deleted version's number never returns."""
        self.versions[group] = self.versions.get(group, 0) + 1
        return self.versions[group]

    def _package(self, name: str) -> dict[str, Any]:
        if name not in self.packages:
            raise ServiceError("ValidationException", f"ModelPackage {name} does not exist")
        return self.packages[name]

    def describe_package(self, data: dict) -> dict:
        return dict(self._package(data["ModelPackageName"]))

    def update_package(self, data: dict) -> dict:
        package = self._package(data["ModelPackageArn"])
        for key in ("ModelApprovalStatus", "ApprovalDescription", "CustomerMetadataProperties"):
            if key in data:
                package[key] = data[key]
        return {"ModelPackageArn": package["ModelPackageArn"]}

    def delete_package(self, data: dict) -> dict:
        del self.packages[self._package(data["ModelPackageName"])["ModelPackageArn"]]
        return {}

    def list_packages(self, data: dict) -> dict:
        """Newest version first."""
        group = self._group(data["ModelPackageGroupName"])["ModelPackageGroupName"]
        keys = (
            "ModelPackageGroupName",
            "ModelPackageVersion",
            "ModelPackageArn",
            "ModelPackageStatus",
            "ModelApprovalStatus",
            "CreationTime",
        )
        found = [
            {key: package[key] for key in keys}
            for package in self.packages.values()
            if package["ModelPackageGroupName"] == group
        ]
        found.sort(key=lambda package: -package["ModelPackageVersion"])
        return {"ModelPackageSummaryList": found}

    def add_tags(self, data: dict) -> dict:
        new = {tag["Key"] for tag in data["Tags"]}
        kept = [tag for tag in self.tags.get(data["ResourceArn"], []) if tag["Key"] not in new]
        self.tags[data["ResourceArn"]] = kept + list(data["Tags"])
        return {"Tags": self.tags[data["ResourceArn"]]}

    def list_tags(self, data: dict) -> dict:
        return {"Tags": self.tags.get(data["ResourceArn"], [])}

    def state(self) -> dict:
        return {
            "groups": self.groups,
            "packages": self.packages,
            "versions": self.versions,
            "tags": self.tags,
        }

    def restore(self, state: dict) -> None:
        self.groups = state.get("groups", {})
        self.packages = state.get("packages", {})
        self.versions = dict(state.get("versions", {}))
        for package in self.packages.values():  # a state saved before versions were counted
            group = package["ModelPackageGroupName"]
            highest = max(self.versions.get(group, 0), package["ModelPackageVersion"])
            self.versions[group] = highest
        self.tags = state.get("tags", {})
