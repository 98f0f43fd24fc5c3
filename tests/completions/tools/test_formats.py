"""Which form of calls a template was written for."""

from __future__ import annotations

import pytest

from jan_server.completions.tools.formats import (
    DEEPSEEK,
    DEEPSEEK_FENCED,
    FORMATS,
    FUNCTIONARY,
    GRANITE,
    HERMES,
    LLAMA,
    MISTRAL,
    MISTRAL_LIST,
    OURS,
    PHI,
    find,
)

# What is particular to each kind of template, shortened; the rest of it says nothing of the form.
TEMPLATES = {
    "Qwen 2.5": (
        r"""{{- "\n</tools>\n<tool_call>\n{\"name\": <function-name>, \"arguments\": """
        r"""<args-json-object>}\n</tool_call>" }}{{- '<tool_call>\n{"name": "' }}""",
        HERMES,
    ),
    "Hermes 2 Pro": (
        r"""{{ '<tool_call>\n{"arguments": <args-dict>, "name": """
        r"""<function-name>}\n</tool_call>' }}""",
        HERMES,
    ),
    "Qwen 3 Coder": (
        r"""{{ '<tool_call>\n<function=' + call.name + '>\n<parameter=' }}"""
        r"""</function>\n</tool_call>""",
        OURS,
    ),
    "GLM 4.5": ("<tool_call>{{ name }}\n<arg_key>{{ key }}</arg_key></tool_call>", OURS),
    "Mistral 7B v0.3": (
        '{{ "[AVAILABLE_TOOLS] [" }}{{ "[TOOL_CALLS] [" }}{{ call.function|tojson }}',
        MISTRAL_LIST,
    ),
    "Devstral": (
        "[AVAILABLE_TOOLS]{{ '[TOOL_CALLS]' + call.function.name + '[ARGS]' + arguments }}",
        MISTRAL,
    ),
    "Mistral Small 3.2": ("{{ '[TOOL_CALLS]' }}{{ '[CALL_ID]' + id + '[ARGS]' }}", MISTRAL),
    "DeepSeek V3.1": ("{{ '<｜tool▁calls▁begin｜>' }}{{ '<｜tool▁sep｜>' }}", DEEPSEEK),
    "DeepSeek R1": (
        "{{ '<｜tool▁calls▁begin｜>' }}{{ '<｜tool▁sep｜>' + name + '\n```json\n' }}",
        DEEPSEEK_FENCED,
    ),
    "Phi 4 mini": ("{{ '<|tool_call|>' + (call | tojson) + '<|/tool_call|>' }}", PHI),
    "Granite 3.3": ("{{ '<|start_of_role|>' }}respond only with <|tool_call|>", GRANITE),
    "Functionary 3.1": ("start_tag => `<function`\n<function={{ name }}></function>", FUNCTIONARY),
    "Llama 3.2": (
        """{{ '<|start_header_id|>' }}{{ '{"name": "' + name + '", ' }}{{ '"parameters": ' }}""",
        LLAMA,
    ),
    "ChatML": ("{{ '<|im_start|>' + message.role + '\n' + message.content }}", OURS),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_form_is_known_by_its_template(name):
    template, form = TEMPLATES[name]
    assert find(template) == form


@pytest.mark.parametrize(
    ("written", "as_text"),
    [
        ("tool['function']['arguments'] + '\\n'", True),
        ("tool['function']['arguments'] | tojson", False),
        ("tool.function.arguments|tojson", False),
    ],
)
def test_a_template_that_writes_arguments_as_json_gets_them_as_an_object(written, as_text):
    template = TEMPLATES["DeepSeek V3.1"][0] + "{{ " + written + " }}"
    assert find(template).arguments_are_text is as_text


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_the_parts_of_a_form_fit_together(form):
    assert (form.opens + form.head).startswith(form.trigger)
    texts = "".join((form.before, form.opens, form.head, form.aside, form.middle, form.tail))
    assert all(control in texts + form.closes for control in form.controls)


@pytest.mark.parametrize(
    ("form", "keys"), [(HERMES, ("name", "arguments")), (LLAMA, ("name", "parameters"))]
)
def test_a_call_in_json_has_these_keys(form, keys):
    assert (form.is_json, form.keys) == (True, keys)
