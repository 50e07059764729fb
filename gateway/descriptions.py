"""What OpenAPI says of the routes that take a file: its forms, its parameters, an example."""

from typing import Any

JsonObject = dict[str, Any]

FILE = {"type": "string", "format": "binary"}
SCORE = {"type": "number", "minimum": 0, "maximum": 1}
PARAMETERS: dict[str, tuple[JsonObject, str, Any]] = {  # schema, meaning, an example
    "pages": ({"type": "string"}, "which pages, all if left out", "1-3,7"),
    "page": ({"type": "integer", "minimum": 1, "default": 1}, "which page", 1),
    "dpi": (
        {"type": "integer", "minimum": 18, "maximum": 600},
        "pixels an inch at which a page is drawn; a PDF's that is one scan comes as it is",
        100,
    ),
    "operating_point": (
        {"type": "string", "enum": ["accept", "review"], "default": "accept"},
        "which of the model's own thresholds: to be relied on, or to be looked at",
        "accept",
    ),
    "confidence": (SCORE, "lowest score of all classes", 0.5),
    "confidence_signature": (SCORE, "lowest score of signatures; so for any class", 0.6),
    "confidence_stamp": (SCORE, "lowest score of stamps", 0.6),
    "iou": (SCORE, "overlap above which the weaker of two boxes of a class is dropped", 0.5),
    "max_detections": ({"type": "integer", "minimum": 1}, "most marks of a page", 100),
}
DETECTOR = (
    "operating_point",
    "confidence",
    "confidence_signature",
    "confidence_stamp",
    "iou",
    "max_detections",
)
MARK = {"class": "signature", "confidence": 0.93, "bbox": [137.8, 1385.4, 309.3, 1485.2]}
DETECTIONS = {"detections": [MARK]}
DOCUMENT = {
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "bytes": 482_113,
    "kind": "pdf",
    "page_count": 2,
    "model": {"name": "document_detector", "version": "6"},
    "operating_point": "accept",
    "pages": [
        {
            "page": 1,
            "width": 1240,
            "height": 1754,
            "width_points": 595.3,
            "height_points": 841.9,
            "detections": [{**MARK, "bbox_points": [66.1, 665.0, 148.5, 712.9]}],
            "signature_fields": [
                {"name": "Sig1", "signed": True, "bbox_points": [60.0, 660.0, 160.0, 720.0]}
            ],
            "stamp_annotations": [],
            "milliseconds": 38.1,
        },
        {
            "page": 2,
            "error": {
                "type": "urn:countersign:unreadable",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "page 2: cannot be read",
            },
        },
    ],
}
PREDICTIONS = {
    "predictions": [
        {"page": 1, "width": 1240, "height": 1754, "detections": [MARK], "milliseconds": 38.1}
    ]
}
READING = {
    "text": "604913",
    "confidence": 0.998,
    "digit_confidence": [0.999, 0.999, 1.0, 1.0, 1.0, 1.0],
    "certain": True,
    "threshold": 0.98,
}
MODELS = {
    "detectors": [
        {
            "name": "document_detector",
            "version": "6",
            "classes": ["signature", "stamp"],
            "thresholds": {
                "accept": {"signature": 0.62, "stamp": 0.6},
                "review": {"signature": 0.1, "stamp": 0.1},
            },
        }
    ],
    "readers": [{"name": "captcha_reader", "version": "2", "threshold": 0.98}],
}


def takes_file(names: tuple[str, ...] = (), example: JsonObject | None = None) -> JsonObject:
    """A route's `openapi_extra`: a file as form or body, parameters of these names in either."""
    fields = {name: PARAMETERS[name][0] for name in names}
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {"file": FILE, **fields},
    }
    content = {kind: {"schema": FILE} for kind in ("application/octet-stream", "image/*")}
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": form}, **content},
        },
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "schema": PARAMETERS[name][0],
                "description": PARAMETERS[name][1],
                "example": PARAMETERS[name][2],
            }
            for name in names
        ],
        **(examples(example) if example else {}),
    }


def takes_instances(example: JsonObject) -> JsonObject:
    """The `openapi_extra` of the route for platforms."""
    file = {"type": "object", "properties": {"b64": {"type": "string", "format": "byte"}}}
    page = {"type": "integer", "minimum": 1, "default": 1}
    instance = {
        "type": "object",
        "required": ["image"],
        "properties": {"image": file, "page": page},
    }
    parameters = {
        "type": "object",
        "properties": {name: PARAMETERS[name][0] for name in ("dpi", *DETECTOR)},
    }
    schema = {
        "type": "object",
        "required": ["instances"],
        "properties": {
            "instances": {"type": "array", "items": instance},
            "parameters": parameters,
        },
    }
    content = {"application/json": {"schema": schema}, "application/octet-stream": {"schema": FILE}}
    return {"requestBody": {"required": True, "content": content}, **examples(example)}


def examples(example: JsonObject) -> JsonObject:
    """A route's `openapi_extra`: what it answers, for example."""
    return {"responses": {"200": {"content": {"application/json": {"example": example}}}}}
