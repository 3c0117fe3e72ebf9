<#
.SYNOPSIS
    Excludes the folder of a WSL distribution's disk from Microsoft Defender's scans, or ends that.

.DESCRIPTION
    Model weights are read from the distribution's virtual disk (ext4.vhdx); scanning it on every
    access makes cold starts slow. An exclusion is a blind spot: it covers the folder of the virtual
    disk alone, and -Remove takes it away again. Run it in an elevated PowerShell on Windows.

.PARAMETER Distro
    The distribution, as `wsl --list` names it. Without it, the default one.

.PARAMETER Path
    The folder that holds ext4.vhdx, where the registry of this account does not know it (another
    account elevated this shell, or the disk was attached with `wsl --mount`).

.PARAMETER Remove
    Remove the exclusion instead of setting it.

.EXAMPLE
    .\defender-exclusion.ps1 -Distro Ubuntu-24.04

.EXAMPLE
    .\defender-exclusion.ps1 -Path D:\wsl\llm -Remove
#>
[CmdletBinding(SupportsShouldProcess = $true, DefaultParameterSetName = 'Distro')]
param(
    [Parameter(ParameterSetName = 'Distro')]
    [string]$Distro,

    [Parameter(ParameterSetName = 'Path', Mandatory = $true)]
    [string]$Path,

    [switch]$Remove
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

function Get-DistroFolder([string]$Name) {
    $root = 'HKCU:\Software\Microsoft\Windows\CurrentVersion\Lxss'
    if (-not (Test-Path -LiteralPath $root)) {
        throw 'This account has no WSL distribution. Name the folder of the disk: -Path D:\wsl\llm'
    }
    # GetValue is $null where a key has no such value (not every key here is a distribution); asking for a
    # property that is missing would be an error.
    if ($Name) {
        $keys = @(Get-ChildItem -LiteralPath $root | Where-Object { $_.GetValue('DistributionName') -eq $Name })
        if ($keys.Count -ne 1) {
            throw "No WSL distribution is called '$Name'. 'wsl --list' names them."
        }
        $key = $keys[0]
    }
    else {
        $default = (Get-Item -LiteralPath $root).GetValue('DefaultDistribution')
        if (-not $default) {
            throw "There is no default WSL distribution. Name one: -Distro ('wsl --list' names them)."
        }
        $key = Get-Item -LiteralPath (Join-Path $root $default)
    }
    # The registry writes long paths as \\?\C:\...
    return $key.GetValue('BasePath') -replace '^\\\\\?\\', ''
}

$identity = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
if (-not $identity.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)) {
    throw 'Changing exclusions needs an elevated PowerShell: right-click, Run as administrator.'
}

if ($PSCmdlet.ParameterSetName -eq 'Path') {
    # Defender takes whole paths alone; a folder need not exist any more to be scanned again.
    $folder = $PSCmdlet.GetUnresolvedProviderPathFromPSPath($Path)
}
else {
    $folder = Get-DistroFolder $Distro
}
$folder = $folder.TrimEnd('\')

if ($folder -match '^[A-Za-z]:$') {
    throw "'$folder' is a whole drive. Exclude only the folder of the virtual disk."
}
if (-not $Remove -and -not (Get-ChildItem -LiteralPath $folder -Filter '*.vhdx' -ErrorAction SilentlyContinue)) {
    throw "'$folder' holds no .vhdx: it is not the folder of a WSL disk."
}

$excluded = @((Get-MpPreference).ExclusionPath) -contains $folder
if ($Remove) {
    if (-not $excluded) {
        Write-Output "Not excluded: $folder"
    }
    elseif ($PSCmdlet.ShouldProcess($folder, 'Remove the Defender exclusion')) {
        Remove-MpPreference -ExclusionPath $folder
        Write-Output "Scanned again: $folder"
    }
}
elseif ($excluded) {
    Write-Output "Already excluded: $folder"
}
elseif ($PSCmdlet.ShouldProcess($folder, 'Add a Defender exclusion')) {
    Add-MpPreference -ExclusionPath $folder
    Write-Output "Excluded: $folder (undo with -Remove)"
}
