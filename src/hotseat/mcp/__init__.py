"""The MCP server: tools with which a coding agent runs hotseat. It needs the extra ``mcp``."""
